// len, index and slice.
import { goType, type GoType } from './go-type.ts';
import { Fault } from './template-error.ts';
import { BYTE, byteLength, fromJson, indirect, type JsonObject, type Result, stringValue, type Value } from './value.ts';

/** `len x`; a string counts in bytes. */
export function lengthOf(item: Result): number {
  const value = item === undefined ? undefined : indirect(item);
  if (value?.kind === 'string') return byteLength(value.data);
  if (value?.kind === 'slice') return value.data?.length ?? 0;
  if (value?.kind === 'map') return Object.keys(value.data ?? {}).length;
  throw new Fault('execution', `${value?.type.name ?? 'nil'} has no length`);
}

/** `index x a b`: x[a][b]. A map without the key gives the zero value. */
export function indexed(item: Result, indexes: readonly Result[]): Value {
  if (item === undefined) throw new Fault('execution', 'there is nothing to index');
  return indexes.reduce((value: Value, index) => elementAt(indirect(value), index), item);
}

function elementAt(value: Value, index: Result): Value {
  if (value.kind === 'map') return entryAt(value.type, value.data ?? {}, index);
  if (value.kind === 'slice') {
    const list = value.data ?? [];
    return fromJson(value.type.element, list[position(index, list.length - 1)]);
  }
  if (value.kind === 'string') {
    const bytes = Buffer.from(value.data);
    return { kind: 'uint', type: BYTE, data: BigInt(bytes[position(index, bytes.length - 1)] ?? 0) };
  }
  throw new Fault('execution', `${value.type.name} cannot be indexed`);
}

function entryAt(type: GoType, map: JsonObject, key: Result): Value {
  if (key?.kind !== 'string' || key.type !== goType(type.keyName)) {
    throw new Fault('execution', `${type.name} has keys of type ${type.keyName}, not ${key?.type.name ?? 'nil'}`);
  }
  return fromJson(type.element, Object.hasOwn(map, key.data) ? map[key.data] : undefined);
}

function position(index: Result, last: number): number {
  if (index?.kind !== 'int' && index?.kind !== 'uint') {
    throw new Fault('execution', `an index is a whole number, not ${index?.type.name ?? 'nil'}`);
  }
  if (index.data < 0n || index.data > BigInt(last)) throw new Fault('execution', `there is no element ${index.data}`);
  return Number(index.data);
}

/** `slice x from to`: x[from:to]. */
export function sliced(item: Result, indexes: readonly Result[]): Value {
  if (item === undefined) throw new Fault('execution', 'there is nothing to slice');
  if (indexes.length > 3) throw new Fault('execution', 'slice takes three indexes at most');
  const value = indirect(item);
  if (value.kind === 'string' && indexes.length < 3) return slicedString(value.data, value.type, indexes);
  if (value.kind !== 'slice') throw new Fault('execution', `${value.type.name} cannot be sliced so`);
  const list = value.data ?? [];
  // Go lets a slice grow into its capacity, which depends on how the list came to be.
  if (indexes.some((index) => index?.kind === 'int' && index.data > BigInt(list.length))) {
    throw new Fault('unsupported', 'slicing beyond the end of a list is not supported');
  }
  const { from, to } = bounds(indexes, list.length);
  return { ...value, data: value.data === null ? null : list.slice(from, to) };
}

function slicedString(text: string, type: GoType, indexes: readonly Result[]): Value {
  const bytes = Buffer.from(text);
  const { from, to } = bounds(indexes, bytes.length);
  for (const end of [from, to]) {
    // The second and later bytes of a character begin with the bits 10.
    if (((bytes[end] ?? 0) & 0xc0) === 0x80) throw new Fault('unsupported', 'slicing through a character is not supported');
  }
  return stringValue(bytes.toString('utf8', from, to), type);
}

function bounds(indexes: readonly Result[], length: number): { from: number; to: number } {
  const [from = 0, to = length, capacity = to] = indexes.map((index) => position(index, length));
  if (from > to || to > capacity) throw new Fault('execution', `slice from ${from} to ${to} ends before it begins`);
  return { from, to };
}
