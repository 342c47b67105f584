// How Go prints values: `{{ .Field }}`, print and println. Only what has one certain form is printed.
import { goType } from './go-type.ts';
import { Fault } from './template-error.ts';
import { fromJson, indirect, type JsonObject, type Result, sortedKeys, stringValue, type Value } from './value.ts';

const TIMESTAMP = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/;

/** What an action prints: pointers are followed, and none is `<no value>`. */
export function actionText(value: Result): string {
  if (value === undefined) return '<no value>';
  return plainText(indirect(value));
}

/** What `%v` prints. */
export function plainText(value: Result): string {
  if (value === undefined) return '<nil>';
  switch (value.kind) {
    case 'string':
      return value.data;
    case 'bool':
    case 'int':
    case 'uint':
      return String(value.data);
    case 'float':
      return floatText(value.data);
    case 'slice':
      return `[${elementsOf(value).map(plainText).join(' ')}]`;
    case 'map':
      return `map[${entriesOf(value)
        .map(([key, entry]) => `${plainText(key)}:${plainText(entry)}`)
        .join(' ')}]`;
    default:
      return stringer(value) ?? unprintable(value);
  }
}

/** `print`: a space between two operands when neither is a string. */
export function printed(values: readonly Result[]): string {
  let text = '';
  values.forEach((value, index) => {
    const apart = index > 0 && value?.kind !== 'string' && values[index - 1]?.kind !== 'string';
    text += (apart ? ' ' : '') + plainText(value);
  });
  return text;
}

/** What the value's own String method says: a time, and nil for each pointer. Undefined when there is none. */
export function stringer(value: Value): string | undefined {
  if (value.kind === 'pointer') {
    // A nil struct's String method says `nil`, where the version of the Kubernetes types has one.
    if (value.type.element.kind === 'struct') return unprintable(value);
    if (value.data === null) return '<nil>';
    return value.type.name === '*v1.Time' ? stringer(fromJson(value.type.element, value.data)) : undefined;
  }
  if (value.type.name !== 'v1.Time') return undefined;
  if (value.data === null) return '0001-01-01 00:00:00 +0000 UTC';
  if (typeof value.data !== 'string' || !TIMESTAMP.test(value.data)) {
    throw new Fault('unsupported', 'only a time in UTC and whole seconds can be printed');
  }
  return `${value.data.slice(0, 10)} ${value.data.slice(11, 19)} +0000 UTC`;
}

/** @throws {Fault} For a value that has no certain text: a struct, a pointer, a quantity. */
export function unprintable({ type }: Value): never {
  const what = type.kind === 'pointer' ? 'has no certain text' : 'cannot be printed as a whole';
  throw new Fault('unsupported', `${type.name} ${what}: name one of its fields`);
}

/** The elements of a list. */
export function elementsOf({ type, data }: Extract<Value, { kind: 'slice' }>): Value[] {
  return (data ?? []).map((element) => fromJson(type.element, element));
}

/** The entries of a map, by key. */
export function entriesOf({ type, data }: Extract<Value, { kind: 'map' }>): [Value, Value][] {
  const map: JsonObject = data ?? {};
  const keyType = goType(type.keyName);
  return sortedKeys(map).map((key) => [stringValue(key, keyType), fromJson(type.element, map[key])]);
}

/** The shortest digits that say the number; with an exponent from 1e6 on and below 1e-4. */
export function floatText(number: number): string {
  if (Object.is(number, -0)) return '-0';
  const [digits = '', exponent = ''] = number.toExponential().split('e');
  const power = Number(exponent);
  if (number === 0 || (power >= -4 && power < 6)) return String(number);
  return `${digits}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
}
