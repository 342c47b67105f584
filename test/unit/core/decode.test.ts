import { describe, expect, test } from 'vitest';
import {
  DecodeError,
  array,
  boolean,
  decode,
  duration,
  integer,
  literal,
  map,
  object,
  oneOf,
  optional,
  record,
  refine,
  string,
} from '../../../core/decode.ts';
import { IdentityError } from '../../../core/errors.ts';

const config = object({
  name: string(),
  port: integer({ min: 1, max: 65_535 }),
  tls: optional(boolean, true),
  note: optional(string({ allowEmpty: true })),
  level: optional(literal('info', 'debug'), 'info'),
  ttl: optional(duration),
  tags: optional(array(string()), []),
  limits: optional(record(integer())),
});

/** The faults of an input, as `path: message`. */
function faultsOf(work: () => unknown): readonly string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof DecodeError) return error.faults.map(({ path, message }) => `${path}: ${message}`);
    throw error;
  }
  return [];
}

describe('decoding', () => {
  test('yields typed values and defaults', () => {
    const input = { name: 'ca', port: 8081, note: '', ttl: '1h', tags: ['a'], limits: { signing: 500 } };
    expect(decode(config, input)).toEqual({
      name: 'ca',
      port: 8081,
      tls: true,
      note: '',
      level: 'info',
      ttl: { ms: 3_600_000 },
      tags: ['a'],
      limits: { signing: 500 },
    });
    expect(decode(config, { name: 'ca', port: 1, tls: null })).toMatchObject({ tls: true, note: undefined, tags: [] });
  });

  test('reports every fault at once, with its path', () => {
    const input = { name: '', port: 70_000, tls: 'yes', level: 'trace', ttl: 'soon', tags: ['a', 7], limits: { a: 'b' }, foo: 1 };
    const faults = faultsOf(() => decode(config, input));
    expect(faults.map((fault) => fault.split(':')[0])).toEqual([
      'foo',
      'name',
      'port',
      'tls',
      'level',
      'ttl',
      'tags[1]',
      'limits.a',
    ]);
    expect(faults[0]).toContain('known here: name, port');
    expect(faultsOf(() => decode(object({}), { x: 1 }))).toEqual(['x: unknown key; known here: none']);
    expect(faults[5]).toContain('is no duration');
  });

  test('fails as invalid_argument with one line for each fault', () => {
    const error = new DecodeError([
      { path: 'a.b', message: 'x' },
      { path: '', message: 'y' },
    ]);
    expect(error).toBeInstanceOf(IdentityError);
    expect(error).toMatchObject({ code: 'invalid_argument', name: 'DecodeError', message: 'a.b: x\ninput: y' });
  });

  test.each([
    [string(), 7, ': expected text, found a number'],
    [string(), undefined, ': expected text, found nothing'],
    [string(), null, ': expected text, found null'],
    [string(), [], ': expected text, found a list'],
    [string(), {}, ': expected text, found a mapping'],
    [boolean, 'true', ': expected true or false, found a string'],
    [integer(), 1.5, ': expected a whole number, found a number'],
    [integer(), Number.NaN, ': expected a whole number, found a number'],
    [integer({ min: 3 }), 2, ': must be from 3 to 9007199254740991, is 2'],
    [array(string()), 'a', ': expected a list, found a string'],
    [record(string()), [], ': expected a mapping, found a list'],
    [object({}), 'a', ': expected a mapping, found a string'],
    [literal('a', 'b'), undefined, ': must be "a" or "b", is missing'],
    [literal('a'), 'c', ': must be "a", is "c"'],
  ])('refuses what is of another type (%#)', (decoder, input, fault) => {
    expect(faultsOf(() => decode<unknown>(decoder, input))).toEqual([fault]);
  });

  test('reads exactly one of several keys', () => {
    const bootstrap = oneOf({ file: string(), insecure: boolean });
    expect(decode(bootstrap, { file: 'a.pem' })).toEqual({ kind: 'file', value: 'a.pem' });
    expect(decode(bootstrap, { insecure: true })).toEqual({ kind: 'insecure', value: true });
    for (const input of [{}, { file: 'a', insecure: true }, { other: 1 }, 'file', null, { toString: 1 }]) {
      expect(faultsOf(() => decode(bootstrap, input))).toEqual([
        ': expected a mapping with exactly one of the keys file, insecure',
      ]);
    }
    expect(faultsOf(() => decode(object({ bootstrap }), { bootstrap: { file: 7 } }))).toEqual([
      'bootstrap.file: expected text, found a number',
    ]);
  });

  test('is not fooled by names that every object has', () => {
    expect(
      faultsOf(() => decode(object({ a: optional(string()) }), JSON.parse('{"__proto__": 1, "constructor": 2}'))),
    ).toHaveLength(2);
    expect(decode(record(integer()), { constructor: 1 })).toEqual({ constructor: 1 });
  });

  test('turns an IdentityError of a conversion into a fault at its place, and lets others go on', () => {
    const upper = map(string(), (text) => {
      if (text === 'bad') throw new IdentityError('invalid_argument', 'is bad', { field: 'name' });
      if (text === 'bug') throw new TypeError('bug');
      return text.toUpperCase();
    });
    expect(decode(upper, 'a')).toBe('A');
    expect(faultsOf(() => decode(object({ x: upper }), { x: 'bad' }))).toEqual(['x: is bad']);
    expect(faultsOf(() => decode(object({ x: upper }), { x: 7 }))).toEqual(['x: expected text, found a number']);
    expect(() => decode(upper, 'bug')).toThrow(TypeError);
  });

  test('judges what was read, with a fault for each thing that is wrong', () => {
    const pair = refine(object({ a: integer(), b: optional(integer()) }), ({ a, b }) => [
      ...(a === b ? [{ path: 'b', message: 'is the same as a' }] : []),
      ...(a < 0 ? [{ path: '', message: 'is too small' }] : []),
      ...(a > 9 ? [{ path: '[0]', message: 'is too big' }] : []),
    ]);
    const pairs = map(array(pair), (all) => all.length);
    expect(decode(pairs, [{ a: 1 }, { a: 2, b: 1 }])).toBe(2);
    expect(faultsOf(() => decode(pairs, [{ a: 1, b: 1 }, { a: -1, b: -1 }, { a: 10 }, { a: 'x' }]))).toEqual([
      '[0].b: is the same as a',
      '[1].b: is the same as a',
      '[1]: is too small',
      '[2][0]: is too big',
      '[3].a: expected a whole number, found a string',
    ]);
  });
});
