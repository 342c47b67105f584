// What a template computes with: a Go type and what it holds. The parts of a Kubernetes object stay as their JSON has them and
// are converted when they are read, so giving a template an object costs nothing.
import { goType, type GoType } from './go-type.ts';
import { Fault } from './template-error.ts';

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** A Go value. The data of a pointer is the JSON of what it points to; `null` is nil. */
export type Value =
  | { readonly kind: 'string'; readonly type: GoType; readonly data: string }
  | { readonly kind: 'bool'; readonly type: GoType; readonly data: boolean }
  | { readonly kind: 'int' | 'uint'; readonly type: GoType; readonly data: bigint }
  | { readonly kind: 'float'; readonly type: GoType; readonly data: number }
  | { readonly kind: 'struct'; readonly type: GoType; readonly data: JsonObject }
  | { readonly kind: 'opaque' | 'pointer'; readonly type: GoType; readonly data: unknown }
  | { readonly kind: 'slice'; readonly type: GoType; readonly data: readonly unknown[] | null }
  | { readonly kind: 'map'; readonly type: GoType; readonly data: JsonObject | null };

/** A value, or none at all: what a map without the key gives, and what `nil` is. */
export type Result = Value | undefined;

export const STRING = goType('string');
export const BOOL = goType('bool');
export const INT = goType('int');
export const FLOAT = goType('float64');
export const BYTE = goType('uint8');

const TRUE: Value = { kind: 'bool', type: BOOL, data: true };
const FALSE: Value = { kind: 'bool', type: BOOL, data: false };

export function stringValue(data: string, type: GoType = STRING): Value {
  return { kind: 'string', type, data };
}

export function intValue(data: bigint | number, type: GoType = INT): Value {
  return { kind: 'int', type, data: BigInt(data) };
}

export function boolValue(data: boolean): Value {
  return data ? TRUE : FALSE;
}

/**
 * Reads JSON as a value of a Go type; what is absent or null is Go's zero value.
 *
 * @throws {Fault} When the JSON is of another shape: Go would not have read the object at all.
 */
export function fromJson(type: GoType, json: unknown): Value {
  const { kind } = type;
  switch (kind) {
    case 'string':
      return { kind, type, data: stringOf(json) };
    case 'bool':
      if (typeof json === 'boolean') return json ? TRUE : FALSE;
      break;
    case 'int':
    case 'uint':
      if (json === null || json === undefined) return { kind, type, data: 0n };
      if (Number.isSafeInteger(json)) return { kind, type, data: BigInt(Number(json)) };
      break;
    case 'struct':
      if (json === null || json === undefined) return { kind, type, data: {} };
      if (isJsonObject(json)) return { kind, type, data: json };
      break;
    case 'slice':
      if (json === null || json === undefined || Array.isArray(json)) return { kind, type, data: json ?? null };
      break;
    case 'map':
      if (json === null || json === undefined || isJsonObject(json)) return { kind, type, data: json ?? null };
      break;
    case 'pointer':
    case 'opaque':
      return { kind, type, data: json ?? null };
    case 'float':
      break;
  }
  if (kind === 'bool' && (json === null || json === undefined)) return FALSE;
  throw new Fault('execution', `the object holds no ${type.name} where one belongs`);
}

function stringOf(json: unknown): string {
  if (json === null || json === undefined) return '';
  if (typeof json !== 'string') throw new Fault('execution', 'the object holds no string where one belongs');
  return json.isWellFormed() ? json : json.toWellFormed();
}

/** Whether it is an object as JSON knows it. */
export function isJsonObject(json: unknown): json is JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

/** Follows pointers to what they point to; a nil pointer is given back as it is. */
export function indirect(value: Value): Value {
  let target = value;
  while (target.kind === 'pointer' && target.data !== null) target = fromJson(target.type.element, target.data);
  return target;
}

/** Go's idea of truth: not the zero of its type; a struct is always true. */
export function isTrue(value: Result): boolean {
  if (value === undefined) return false;
  switch (value.kind) {
    case 'string':
      return value.data !== '';
    case 'bool':
      return value.data;
    case 'int':
    case 'uint':
      return value.data !== 0n;
    case 'float':
      return value.data !== 0;
    case 'slice':
      return value.data !== null && value.data.length > 0;
    case 'map':
      return value.data !== null && Object.keys(value.data).length > 0;
    case 'pointer':
      return value.data !== null;
    default:
      return true;
  }
}

/** The length of a string in bytes, as Go counts. */
export function byteLength(text: string): number {
  return Buffer.byteLength(text);
}

/** Orders strings by their bytes, as Go does; UTF-16 orders some of them otherwise. */
export function compareStrings(left: string, right: string): number {
  if (left === right) return 0;
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** Keys in the order in which Go ranges over a map and prints it. */
export function sortedKeys(map: JsonObject): string[] {
  return Object.keys(map).sort(compareStrings);
}
