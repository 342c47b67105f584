import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeBase64url, encodeBase64url } from '../../../spiffe/base64url.ts';
import { parseJsonObject } from '../../../spiffe/strict-json.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

describe('strict JSON', () => {
  test('reads objects from text and from UTF-8', () => {
    expect(parseJsonObject('{"a": [1, {"b": null}], "c": "ä\\"}"}', 'x')).toEqual({ a: [1, { b: null }], c: 'ä"}' });
    expect(parseJsonObject(Buffer.from('{"ä":"ö"}'), 'x')).toEqual({ ä: 'ö' });
  });

  test.each([
    ['a name twice', '{"a":1,"a":2}'],
    ['a name twice with white space', '{"a" : 1, "a"\t\n:2}'],
    ['a name twice in an inner object', '{"x":[{"a":1,"b":[],"a":{}}]}'],
    ['a name twice, once escaped', '{"a":1,"\\u0061":2}'],
    ['__proto__ twice', '{"__proto__":1,"__proto__":2}'],
    ['an array', '[]'],
    ['null', 'null'],
    ['a number', '1'],
    ['nothing', ''],
    ['trailing text', '{}x'],
    ['a trailing comma', '{"a":1,}'],
    ['a byte order mark', '\ufeff{}'],
    ['a comment', '{/**/}'],
  ])('refuses %s', (_what, text) => {
    expect(thrownBy(() => parseJsonObject(text, 'doc'))).toMatchObject({ code: 'invalid_argument', field: 'doc' });
    expect(codeOf(() => parseJsonObject(Buffer.from(text), 'doc'))).toBe('invalid_argument');
  });

  test('refuses bytes that are not UTF-8', () => {
    expect(codeOf(() => parseJsonObject(Uint8Array.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'doc'))).toBe(
      'invalid_argument',
    );
  });

  test('accepts equal names in different objects, and values that look like names', () => {
    expect(parseJsonObject('{"a":{"a":"a"},"b":["a","a",{"a":1}],"c":"\\"a\\":"}', 'x')).toMatchObject({ c: '"a":' });
  });

  test('does not choke on nesting', () => {
    const deep = 100_000;
    expect(codeOf(() => parseJsonObject(`{"a":${'['.repeat(deep)}${']'.repeat(deep)}}`, 'x'))).toSatisfy(
      (code) => code === undefined || code === 'invalid_argument',
    );
  });

  test('never repeats the text in an error', () => {
    const { message } = thrownBy(() => parseJsonObject('{"secret-token": x}', 'doc'));
    expect(message).not.toContain('secret');
  });

  test('property: every object that JSON.stringify writes is accepted', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const text = JSON.stringify(value);
        expect(parseJsonObject(text, 'x')).toEqual(JSON.parse(text));
      }),
    );
  });
});

describe('base64url', () => {
  test.each(['', 'AA', 'AAA', 'AAAA', '_-_-', 'Zm9v'])('decodes %j', (text) => {
    expect(encodeBase64url(decodeBase64url(text) ?? 'wrong')).toBe(text);
  });

  test.each(['A', 'AB', 'AA==', 'A A', 'AA\n', '+/+/', 'AAB', 'Zm9v!', 'ä', 'AAAAA'])('refuses %j', (text) => {
    expect(decodeBase64url(text)).toBeUndefined();
  });

  test('property: bytes read back', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(Uint8Array.from(decodeBase64url(encodeBase64url(bytes)) ?? [])).toEqual(bytes);
      }),
    );
  });

  test('encodes a view, not what lies around it', () => {
    expect(encodeBase64url(Uint8Array.of(1, 2, 3, 4).subarray(1, 3))).toBe('AgM');
    expect(encodeBase64url('ä')).toBe('w6Q');
  });
});
