// `.Name`: a field of a struct, an entry of a map, or one of the few methods that only read a field.
import { type GoType, isMethodName } from './go-type.ts';
import { Fault } from './template-error.ts';
import { fromJson, indirect, type Result, type Value } from './value.ts';

const GETTERS = new Set([
  'GetName',
  'GetNamespace',
  'GetGenerateName',
  'GetUID',
  'GetResourceVersion',
  'GetGeneration',
  'GetSelfLink',
  'GetDeletionTimestamp',
  'GetDeletionGracePeriodSeconds',
  'GetLabels',
  'GetAnnotations',
  'GetFinalizers',
  'GetOwnerReferences',
]);

/**
 * Looks up a name in a value, as Go does: methods first, then fields; pointers are followed; a map without the key gives none.
 *
 * @throws {Fault} `execution` where Go fails, `unsupported` for a method that is not carried over.
 */
export function selectField(receiver: Result, name: string): Result {
  if (receiver === undefined) return undefined;
  const value = indirect(receiver);
  if (value.kind === 'struct') return structField(value, name, receiver.type);
  if (value.kind === 'map' && !mayBeMethod(value.type, name)) return mapEntry(value, name);
  if (value.kind === 'pointer') throw nilPointer(value.type, name);
  throw noField(value.type, name, receiver.type);
}

/** The name of the field that a name stands for in a struct: itself, or what a getter reads. */
export function fieldNameIn(type: GoType, name: string): string {
  return type.name === 'v1.ObjectMeta' && GETTERS.has(name) ? name.slice('Get'.length) : name;
}

/** Why a struct type has no such field. */
export function noField(type: GoType, name: string, receiver: GoType = type): Fault {
  if (type.kind === 'opaque')
    return new Fault('unsupported', `fields and methods of ${type.name} are not supported, .${name} neither`);
  if (mayBeMethod(type, name)) return new Fault('unsupported', `the method ${name} of ${receiver.name} is not supported`);
  return new Fault('execution', `there is no field ${name} in ${receiver.name}`);
}

function mayBeMethod(type: GoType, name: string): boolean {
  return type.defined && isMethodName(name);
}

function structField({ type, data }: Extract<Value, { kind: 'struct' }>, name: string, receiver: GoType): Value {
  const field = type.fields.get(fieldNameIn(type, name));
  if (field === undefined) throw noField(type, name, receiver);
  if (field.json === '.') return fromJson(field.type, data);
  return fromJson(field.type, Object.hasOwn(data, field.json) ? data[field.json] : undefined);
}

function mapEntry({ type, data }: Extract<Value, { kind: 'map' }>, name: string): Result {
  if (type.keyName !== 'string')
    throw new Fault('execution', `${type.name} has keys of its own type: .${name} finds none of them`);
  if (data === null || !Object.hasOwn(data, name)) return undefined;
  return fromJson(type.element, data[name]);
}

function nilPointer(type: GoType, name: string): Fault {
  const target = type.element;
  if (target.kind === 'struct' && !target.fields.has(fieldNameIn(target, name))) return noField(target, name, type);
  return new Fault('execution', `.${name} of a nil ${type.name}`);
}
