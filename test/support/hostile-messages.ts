// Messages that are well-formed protobuf and wrong in every other way.
import { create, ScalarType, type DescField, type DescMessage, type Message } from '@bufbuild/protobuf';
import { reflect } from '@bufbuild/protobuf/reflect';

const STRINGS = [
  '',
  ' ',
  '..',
  '/',
  '//',
  '/a/../b',
  '/spire/agent/x',
  '/web',
  'example.org',
  'other.example',
  'EXAMPLE.org',
  'user@example.org:80',
  'spiffe://example.org/web',
  'spiffe://example.org/%2e%2e',
  'https://169.254.169.254/latest',
  "'; DROP TABLE resource; --",
  '\u0000',
  '\ud83d\ude00',
  '${jndi:ldap://x}',
  '__proto__',
  'constructor',
  'none',
  'HS256',
  'a'.repeat(2049),
  '9007199254740993',
];
const NUMBERS = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)];
const BIG_NUMBERS = [0n, 1n, -1n, 2n ** 63n - 1n, -(2n ** 63n)];
const BYTES = [
  new Uint8Array(),
  Uint8Array.of(0),
  Uint8Array.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff),
  Buffer.from('30800000', 'hex'),
  Buffer.from('{}'),
];

/** A source of choices that gives the same ones for the same seed. */
export type Choose = <T>(values: readonly T[]) => T;

/** A small generator (mulberry32): the same seed makes the same messages. */
export function seededChoice(seed: number): Choose {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return (values) => {
    const value = values[Math.floor(next() * values.length)];
    if (value === undefined) throw new Error('nothing to choose from');
    return value;
  };
}

/** A message of this type with hostile values in a random part of its fields. */
export function hostileMessage(desc: DescMessage, choose: Choose, depth = 0): Message {
  const message = create(desc);
  const view = reflect(desc, message);
  for (const field of desc.fields) {
    if (choose([true, true, true, false]) || depth === 0) fill(view, field, { choose, depth });
  }
  return message;
}

type View = ReturnType<typeof reflect>;
interface Filling {
  readonly choose: Choose;
  readonly depth: number;
}

function fill(view: View, field: DescField, filling: Filling): void {
  const { choose } = filling;
  if (field.fieldKind === 'map') return;
  if (field.fieldKind === 'list') {
    const count = choose([0, 1, 2, 3]);
    for (let index = 0; index < count; index += 1) view.get(field).add(single(field, filling));
    return;
  }
  if (field.oneof === undefined || choose([true, false])) view.set(field, single(field, filling));
}

function single(field: DescField & { fieldKind: 'scalar' | 'enum' | 'message' | 'list' }, { choose, depth }: Filling) {
  const inner = field.fieldKind === 'list' ? field.listKind : field.fieldKind;
  if (inner === 'message' && field.message !== undefined)
    return reflect(field.message, hostileMessage(field.message, choose, depth + 1));
  if (inner === 'enum') return choose([0, 1, 2, 99]);
  return scalar(field.scalar, choose);
}

function scalar(type: ScalarType | undefined, choose: Choose): string | number | bigint | boolean | Uint8Array {
  switch (type) {
    case ScalarType.STRING:
      return choose(STRINGS);
    case ScalarType.BYTES:
      return choose(BYTES);
    case ScalarType.BOOL:
      return choose([true, false]);
    case ScalarType.INT64:
      return choose(BIG_NUMBERS);
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return choose([0, 1, 2 ** 32 - 1]);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return choose([0n, 1n, 2n ** 64n - 1n]);
    default:
      return choose(NUMBERS);
  }
}
