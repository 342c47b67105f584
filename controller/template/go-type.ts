// The Go types of what a template sees: they decide what a field is called, what is empty, what compares and how it prints.
import { KUBERNETES_TYPES } from './kubernetes-types.ts';

/** As much of Go's `reflect.Kind` as the types need. `opaque` has a JSON form of its own: a time, a quantity, an int or a string. */
export type Kind = 'string' | 'bool' | 'int' | 'uint' | 'float' | 'struct' | 'opaque' | 'pointer' | 'slice' | 'map';

/** A field of a struct; its JSON name is `.` when the field's own fields lie in the same JSON object. */
export interface Field {
  readonly name: string;
  readonly json: string;
  readonly type: GoType;
}

const BASIC_KINDS: Readonly<Record<string, Kind>> = {
  string: 'string',
  bool: 'bool',
  int: 'int',
  int32: 'int',
  int64: 'int',
  uint8: 'uint',
  float64: 'float',
  struct: 'struct',
  opaque: 'opaque',
};

/** A Go type by the name that `%T` prints. Its parts are looked up when they are asked for. */
export class GoType {
  readonly name: string;
  readonly kind: Kind;
  /** Whether it has a name of its own, so that it may have methods. */
  readonly defined: boolean;
  readonly #underlying: string;
  readonly #fieldLines: readonly string[];
  #fields: ReadonlyMap<string, Field> | undefined;
  #element: GoType | undefined;

  constructor(name: string, underlying: string, { defined, fieldLines }: { defined: boolean; fieldLines: readonly string[] }) {
    this.name = name;
    this.defined = defined;
    this.kind = kindOf(underlying);
    this.#underlying = underlying;
    this.#fieldLines = fieldLines;
  }

  /** The fields of a struct, those promoted from embedded structs among them, by Go name. */
  get fields(): ReadonlyMap<string, Field> {
    this.#fields ??= new Map(this.#fieldLines.map((line) => parseField(line)).map((field) => [field.name, field]));
    return this.#fields;
  }

  /** What a pointer points to, a list lists and a map maps to. */
  get element(): GoType {
    this.#element ??= goType(this.#underlying.replace(/^(?:\*|\[\]|map\[[^\]]*\])/, ''));
    return this.#element;
  }

  /** Name of the type of a map's keys; every map here has keys of a kind of string. */
  get keyName(): string {
    return this.#underlying.slice('map['.length, this.#underlying.indexOf(']'));
  }
}

function kindOf(underlying: string): Kind {
  if (underlying.startsWith('*')) return 'pointer';
  if (underlying.startsWith('[]')) return 'slice';
  if (underlying.startsWith('map[')) return 'map';
  const kind = BASIC_KINDS[underlying];
  if (kind === undefined) throw new TypeError(`no such Go type: ${underlying}`);
  return kind;
}

function parseField(line: string): Field {
  const [name = '', json = '', type = ''] = line.trim().split(' ');
  return { name, json, type: goType(type) };
}

const types = new Map<string, GoType>();
const methods = new Set<string>();

/** Of a name as `%T` prints it: `v1.PodSpec`, `*int64`, `map[string]string`. */
export function goType(name: string): GoType {
  if (types.size === 0) readTable();
  let type = types.get(name);
  if (type === undefined) {
    type = new GoType(name, name, { defined: false, fieldLines: [] });
    types.set(name, type);
  }
  return type;
}

/** Whether any of the types has a method of that name. */
export function isMethodName(name: string): boolean {
  if (types.size === 0) readTable();
  return methods.has(name);
}

function readTable(): void {
  for (const declaration of KUBERNETES_TYPES.trim().split(/\n(?! )/)) {
    const [head = '', ...fieldLines] = declaration.split('\n');
    const [word, name = '', underlying = ''] = head.split(' ');
    if (word === 'type') types.set(name, new GoType(name, underlying, { defined: true, fieldLines }));
    else for (const method of head.split(' ').slice(1)) methods.add(method);
  }
}
