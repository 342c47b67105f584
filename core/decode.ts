import { parseDuration, type Duration } from './duration.ts';
import { IdentityError } from './errors.ts';

/** One fault of an input: where it is and what is wrong with it. */
export interface Fault {
  readonly path: string;
  readonly message: string;
}

/** What is no such document at all has a fault in each line: a text that is read by people, logged and sent names the first. */
const NAMED_FAULTS = 20;

/** All faults of an input at once; its text has the first 20 and the number of the others. */
export class DecodeError extends IdentityError {
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[]) {
    super('invalid_argument', firstLines(faults.map(({ path, message }) => `${path === '' ? 'input' : path}: ${message}`)));
    this.name = 'DecodeError';
    this.faults = faults;
  }
}

/** The first 20 of some lines, each of which is about a fault, and how many more there are. */
export function firstLines(lines: readonly string[]): string {
  const more = lines.length - NAMED_FAULTS;
  return [...lines.slice(0, NAMED_FAULTS), ...(more > 0 ? [`and ${more} more`] : [])].join('\n');
}

/** What a decoder gives back when the value was unusable; the fault has been recorded. */
const FAULTY = Symbol('faulty');
type Result<T> = T | typeof FAULTY;

/** Reads one value from untrusted input, collecting every fault instead of stopping at the first. */
export interface Decoder<T> {
  read(input: unknown, path: string, faults: Fault[]): Result<T>;
}

/** The type that a decoder yields. */
export type Decoded<D> = D extends Decoder<infer T> ? T : never;

/**
 * Decodes an untrusted value.
 *
 * @throws DecodeError (an `invalid_argument`) that lists all faults with their paths
 * @example
 * const config = decode(object({ port: integer({ min: 1, max: 65535 }) }), { port: 8081 });
 */
export function decode<T>(decoder: Decoder<T>, input: unknown): T {
  const faults: Fault[] = [];
  const value = decoder.read(input, '', faults);
  if (faults.length > 0 || value === FAULTY) throw new DecodeError(faults);
  return value;
}

function fault(faults: Fault[], path: string, message: string): typeof FAULTY {
  faults.push({ path, message });
  return FAULTY;
}

function describe(input: unknown): string {
  if (input === undefined) return 'nothing';
  if (input === null) return 'null';
  return Array.isArray(input) ? 'a list' : typeof input === 'object' ? 'a mapping' : `a ${typeof input}`;
}

/** Text; not empty unless `allowEmpty`. */
export function string(options: { readonly allowEmpty?: boolean } = {}): Decoder<string> {
  return {
    read(input, path, faults) {
      if (typeof input !== 'string') return fault(faults, path, `expected text, found ${describe(input)}`);
      if (input === '' && !options.allowEmpty) return fault(faults, path, 'must not be empty');
      return input;
    },
  };
}

/** `true` or `false`. */
export const boolean: Decoder<boolean> = {
  read: (input, path, faults) =>
    typeof input === 'boolean' ? input : fault(faults, path, `expected true or false, found ${describe(input)}`),
};

/** A whole number within bounds, both inclusive. */
export function integer(bounds: { readonly min?: number; readonly max?: number } = {}): Decoder<number> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = bounds;
  return {
    read(input, path, faults) {
      if (typeof input !== 'number' || !Number.isSafeInteger(input)) {
        return fault(faults, path, `expected a whole number, found ${describe(input)}`);
      }
      return input >= min && input <= max ? input : fault(faults, path, `must be from ${min} to ${max}, is ${input}`);
    },
  };
}

/** A number within bounds, both inclusive; it need not be a whole one. */
export function number({ min, max }: { readonly min: number; readonly max: number }): Decoder<number> {
  return {
    read(input, path, faults) {
      if (typeof input !== 'number') return fault(faults, path, `expected a number, found ${describe(input)}`);
      return input >= min && input <= max ? input : fault(faults, path, `must be from ${min} to ${max}, is ${input}`);
    },
  };
}

/** One of a fixed set of words. */
export function literal<const T extends string>(...words: readonly T[]): Decoder<T> {
  return {
    read(input, path, faults) {
      const word = words.find((candidate) => candidate === input);
      return (
        word ??
        fault(faults, path, `must be ${words.map((each) => `"${each}"`).join(' or ')}, is ${JSON.stringify(input) ?? 'missing'}`)
      );
    },
  };
}

/** A list whose items all decode. */
export function array<T>(item: Decoder<T>): Decoder<readonly T[]> {
  return {
    read(input, path, faults) {
      if (!Array.isArray(input)) return fault(faults, path, `expected a list, found ${describe(input)}`);
      const before = faults.length;
      const values = input.map((value, index) => item.read(value, `${path}[${index}]`, faults));
      // The cast is sound: every item that yields FAULTY has recorded a fault.
      return faults.length > before ? FAULTY : (values as T[]);
    },
  };
}

/** A mapping from any key to values that all decode. */
export function record<T>(item: Decoder<T>): Decoder<Readonly<Record<string, T>>> {
  return {
    read(input, path, faults) {
      if (!isMapping(input)) return fault(faults, path, `expected a mapping, found ${describe(input)}`);
      const before = faults.length;
      const entries = Object.entries(input).map(([key, value]) => [key, item.read(value, join(path, key), faults)]);
      // The cast is sound: every value that yields FAULTY has recorded a fault.
      return faults.length > before ? FAULTY : (Object.fromEntries(entries) as Record<string, T>);
    },
  };
}

/** A field that may be absent (`undefined` or `null`). */
export function optional<T>(inner: Decoder<T>): Decoder<T | undefined>;
export function optional<T>(inner: Decoder<T>, fallback: T): Decoder<T>;
export function optional<T>(inner: Decoder<T>, fallback?: T): Decoder<T | undefined> {
  return {
    read: (input, path, faults) => (input === undefined || input === null ? fallback : inner.read(input, path, faults)),
  };
}

/** Turns what `inner` read into something else; an IdentityError that `convert` throws becomes a fault at this path. */
export function map<T, U>(inner: Decoder<T>, convert: (value: T) => U): Decoder<U> {
  return {
    read(input, path, faults) {
      const value = inner.read(input, path, faults);
      if (value === FAULTY) return FAULTY;
      try {
        return convert(value);
      } catch (error) {
        if (!(error instanceof IdentityError)) throw error;
        const prefix = error.field === undefined ? '' : `${error.field}: `;
        return fault(faults, path, error.message.slice(error.message.startsWith(prefix) ? prefix.length : 0));
      }
    },
  };
}

/** Judges what `inner` read. The faults that `judge` gives are recorded with their paths below this one, such as `a.b` or `[2]`. */
export function refine<T>(inner: Decoder<T>, judge: (value: T) => readonly Fault[]): Decoder<T> {
  return {
    read(input, path, faults) {
      const value = inner.read(input, path, faults);
      if (value === FAULTY) return FAULTY;
      const found = judge(value);
      for (const { path: below, message } of found)
        fault(faults, /^(?:\[|$)/.test(below) ? path + below : join(path, below), message);
      return found.length > 0 ? FAULTY : value;
    },
  };
}

/** A duration such as `1h30m`. */
export const duration: Decoder<Duration> = map(string(), (text) => parseDuration(text));

type Shape = Readonly<Record<string, Decoder<unknown>>>;
type Shaped<S extends Shape> = { readonly [K in keyof S]: Decoded<S[K]> };

/** A mapping with exactly these fields; every unknown key is a fault. */
export function object<S extends Shape>(shape: S): Decoder<Shaped<S>> {
  const fields = Object.entries(shape);
  return {
    read(input, path, faults) {
      if (!isMapping(input)) return fault(faults, path, `expected a mapping, found ${describe(input)}`);
      const before = faults.length;
      for (const key of Object.keys(input)) {
        if (!Object.hasOwn(shape, key))
          fault(faults, join(path, key), `unknown key; known here: ${Object.keys(shape).join(', ') || 'none'}`);
      }
      const read: Record<string, unknown> = {};
      for (const [key, decoder] of fields) read[key] = decoder.read(input[key], join(path, key), faults);
      // The cast is sound: the fields follow the shape, and every FAULTY one has recorded a fault.
      return faults.length > before ? FAULTY : (read as Shaped<S>);
    },
  };
}

/** A mapping with exactly one of these keys, such as `{ file: … }` or `{ insecure: true }`; yields that key and its value. */
export function oneOf<S extends Shape>(
  shape: S,
): Decoder<{ [K in keyof S & string]: { readonly kind: K; readonly value: Decoded<S[K]> } }[keyof S & string]> {
  type Choice = { [K in keyof S & string]: { readonly kind: K; readonly value: Decoded<S[K]> } }[keyof S & string];
  return {
    read(input, path, faults) {
      const keys = isMapping(input) ? Object.keys(input) : [];
      const [kind] = keys;
      const decoder = kind !== undefined && Object.hasOwn(shape, kind) ? shape[kind] : undefined;
      if (!isMapping(input) || kind === undefined || keys.length !== 1 || decoder === undefined) {
        return fault(faults, path, `expected a mapping with exactly one of the keys ${Object.keys(shape).join(', ')}`);
      }
      const value = decoder.read(input[kind], join(path, kind), faults);
      // The cast is sound: kind is a key of the shape and value came from its decoder.
      return value === FAULTY ? FAULTY : ({ kind, value } as Choice);
    },
  };
}

function isMapping(input: unknown): input is Record<string, unknown> {
  return typeof input === 'object' && input !== null && !Array.isArray(input);
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}
