// Command template-types prints the Go types that an identity template can reach, as the table that
// controller/template/kubernetes-types.ts holds. A field is a line: its Go name, its JSON name ("." when its own fields lie
// in the same JSON object) and its type.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"reflect"
	"sort"
	"strings"

	"countersign.dev/test/go/internal/identitytemplate"
)

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

type table struct {
	types   map[string]reflect.Type
	methods map[string]bool
}

func main() {
	t := table{types: map[string]reflect.Type{}, methods: map[string]bool{}}
	t.visit(reflect.TypeFor[identitytemplate.Data]())
	for _, name := range sorted(t.types) {
		t.print(name, t.types[name])
	}
	fmt.Println("methods", strings.Join(sorted(t.methods), " "))
}

// visit takes in a type and what it is made of. Two packages are called v1: that they share no name is checked here.
func (t *table) visit(typ reflect.Type) {
	if typ.PkgPath() != "" {
		if known, ok := t.types[typ.String()]; ok {
			if known != typ {
				log.Fatalf("%s and %s have one name", known.PkgPath(), typ.PkgPath())
			}
			return
		}
		t.types[typ.String()] = typ
		t.visitMethods(typ)
	}
	if isOpaque(typ) {
		return
	}
	switch typ.Kind() {
	case reflect.Struct:
		for _, field := range fieldsOf(typ) {
			t.visit(field.Type)
		}
	case reflect.Map:
		t.visit(typ.Key())
		t.visit(typ.Elem())
	case reflect.Pointer, reflect.Slice:
		t.visit(typ.Elem())
	case reflect.String, reflect.Bool, reflect.Int32, reflect.Int64, reflect.Uint8:
	default:
		log.Fatalf("%s: a kind that the templates do not know", typ)
	}
}

func (t *table) visitMethods(typ reflect.Type) {
	pointer := reflect.PointerTo(typ)
	for i := range pointer.NumMethod() {
		name := pointer.Method(i).Name
		t.methods[name] = true
		if typ.Kind() != reflect.Struct {
			continue
		}
		if _, ok := typ.FieldByName(name); ok {
			log.Fatalf("%s: %s is a field and a method", typ, name)
		}
	}
}

// isOpaque says whether the JSON form of the type is its own affair: a time, a quantity, an int or a string.
func isOpaque(typ reflect.Type) bool {
	return typ.Kind() != reflect.Pointer && reflect.PointerTo(typ).Implements(unmarshaler)
}

func (t *table) print(name string, typ reflect.Type) {
	switch {
	case isOpaque(typ):
		fmt.Println("type", name, "opaque")
	case typ.Kind() == reflect.Struct:
		fmt.Println("type", name, "struct")
		for _, field := range fieldsOf(typ) {
			fmt.Println(" ", field.Name, jsonName(field), field.Type)
		}
	default:
		fmt.Println("type", name, underlying(typ))
	}
}

// fieldsOf gives the fields that a template can name: those of embedded structs are promoted.
func fieldsOf(typ reflect.Type) []reflect.StructField {
	var fields []reflect.StructField
	for _, field := range reflect.VisibleFields(typ) {
		found, ok := typ.FieldByName(field.Name)
		if ok && field.IsExported() && reflect.DeepEqual(found.Index, field.Index) {
			fields = append(fields, field)
		}
	}
	return fields
}

func jsonName(field reflect.StructField) string {
	tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	switch {
	case tag != "":
		return tag
	case field.Anonymous:
		return "."
	default:
		return field.Name
	}
}

func underlying(typ reflect.Type) string {
	switch typ.Kind() {
	case reflect.Map:
		return fmt.Sprintf("map[%s]%s", typ.Key(), typ.Elem())
	case reflect.Slice:
		return "[]" + typ.Elem().String()
	default:
		return typ.Kind().String()
	}
}

func sorted[V any](from map[string]V) []string {
	var names []string
	for name := range from {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
