import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DerReader, TAG, contextConstructedTag, contextTag, splitDer } from '../../../spiffe/der.ts';
import {
  der,
  derAscii,
  derBitString,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derSmallInteger,
  derTime,
  derTrue,
  derUnsigned,
} from '../../../spiffe/der-writer.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const reader = (text: string): DerReader => new DerReader(hex(text), 'input');
const refused = { code: 'invalid_argument', field: 'input' } as const;

describe('DER reader', () => {
  test.each([
    ['indefinite length', '30 80 00 00'],
    ['a length in more bytes than needed', '30 81 05 02 01 01 02 00'],
    ['a length with leading zero', '30 82 00 80'],
    ['a length of four bytes', '30 84 00 00 00 01 00'],
    ['a length of 127 bytes', `30 ff ${'00'.repeat(127)}`],
    ['a length beyond the end', '30 05 02 01'],
    ['a length that is cut off', '30 82 01'],
    ['only a tag', '30'],
    ['nothing', ''],
    ['another tag', '31 00'],
  ])('refuses %s', (_what, text) => {
    expect(thrownBy(() => reader(text).readContent(TAG.sequence))).toMatchObject(refused);
  });

  test('refuses tag numbers beyond 30', () => {
    expect(thrownBy(() => reader('1f 85 01 00').readRaw())).toMatchObject(refused);
  });

  test('refuses a long-form length of exactly 127', () => {
    expect(thrownBy(() => new DerReader(hex(`3081 7f${'00'.repeat(127)}`), 'input').readContent(TAG.sequence))).toMatchObject(
      refused,
    );
    expect(new DerReader(hex(`3081 80${'00'.repeat(128)}`), 'input').readContent(TAG.sequence)).toHaveLength(128);
  });

  test('refuses trailing bytes', () => {
    const outer = reader('30 00 00');
    outer.enter(TAG.sequence).finish();
    expect(thrownBy(() => outer.finish())).toMatchObject(refused);
  });

  test('refuses to go deeper than 16 levels', () => {
    let nested = new Uint8Array(0);
    for (let level = 0; level < 40; level++) nested = new Uint8Array(derSequence(nested));
    let inner = new DerReader(nested, 'input');
    expect(
      thrownBy(() => {
        for (;;) inner = inner.enter(TAG.sequence);
      }),
    ).toMatchObject(refused);
  });

  test.each(['01 01 01', '01 01 fe', '01 02 00 00', '01 00'])('refuses the boolean %s', (text) => {
    expect(thrownBy(() => reader(text).readBoolean())).toMatchObject(refused);
  });

  test('reads booleans', () => {
    expect(reader('01 01 ff').readBoolean()).toBe(true);
    expect(reader('01 01 00').readBoolean()).toBe(false);
  });

  test.each(['02 00', '02 02 00 7f', '02 02 ff 80'])('refuses the integer %s', (text) => {
    expect(thrownBy(() => reader(text).readInteger())).toMatchObject(refused);
  });

  test('reads integers', () => {
    expect(toHex(reader('02 02 ff 7f').readInteger())).toBe('ff7f');
    expect(toHex(reader('02 02 00 80').readUnsigned())).toBe('80');
    expect(toHex(reader('02 01 00').readUnsigned())).toBe('00');
    expect(reader('02 04 7f ff ff ff').readSmallInteger()).toBe(2 ** 31 - 1);
    expect(thrownBy(() => reader('02 01 80').readUnsigned())).toMatchObject(refused);
    expect(thrownBy(() => reader('02 05 00 80 00 00 00').readSmallInteger())).toMatchObject(refused);
    expect(thrownBy(() => reader('02 06 01 00 00 00 00 00').readSmallInteger())).toMatchObject(refused);
  });

  test.each(['03 00', '03 02 08 00', '03 01 01', '03 02 01 01', '03 02 04 08'])('refuses the bit string %s', (text) => {
    expect(thrownBy(() => reader(text).readBitString())).toMatchObject(refused);
  });

  test('reads bit strings', () => {
    expect(reader('03 02 04 f0').readBitString()).toEqual({ bytes: hex('f0'), unusedBits: 4 });
    expect(toHex(reader('03 02 00 f0').readBitStringBytes())).toBe('f0');
    expect(thrownBy(() => reader('03 02 04 f0').readBitStringBytes())).toMatchObject(refused);
  });

  test.each(['06 00', '06 02 80 01', '06 02 2a 86', '06 03 2a 80 01', '06 08 2a ff ff ff ff ff ff 7f'])(
    'refuses the object identifier %s',
    (text) => {
      expect(thrownBy(() => reader(text).readOid())).toMatchObject(refused);
    },
  );

  test.each([
    ['06 03 55 1d 11', '2.5.29.17'],
    ['06 06 2a 86 48 86 f7 0d', '1.2.840.113549'],
    ['06 02 88 37', '2.999'],
    ['06 01 27', '0.39'],
  ])('reads the object identifier %s', (text, dotted) => {
    expect(reader(text).readOid()).toBe(dotted);
    expect(toHex(derOid(dotted))).toBe(text.replaceAll(' ', ''));
  });

  test('reads ASCII text and refuses bytes beyond it', () => {
    expect(reader('16 02 61 62').readIa5String()).toBe('ab');
    expect(reader('86 01 61').readIa5String(contextTag(6))).toBe('a');
    expect(thrownBy(() => reader('16 01 80').readIa5String())).toMatchObject(refused);
  });

  test('reads null', () => {
    reader('05 00').readNull();
    expect(thrownBy(() => reader('05 01 00').readNull())).toMatchObject(refused);
  });

  test('enters optional parts only when they are there', () => {
    expect(reader('a0 00').enterOptional(contextConstructedTag(0))?.atEnd).toBe(true);
    expect(reader('a1 00').enterOptional(contextConstructedTag(0))).toBeUndefined();
  });

  test.each([
    ['260101000000Z', Date.UTC(2026, 0, 1)],
    ['491231235959Z', Date.UTC(2049, 11, 31, 23, 59, 59)],
    ['500101000000Z', Date.UTC(1950, 0, 1)],
    ['20500101000000Z', Date.UTC(2050, 0, 1)],
    ['99991231235959Z', Date.UTC(9999, 11, 31, 23, 59, 59)],
    ['240229120000Z', Date.UTC(2024, 1, 29, 12)],
  ])('reads the time %s', (text, timeMs) => {
    const tag = text.length === 13 ? TAG.utcTime : TAG.generalizedTime;
    expect(new DerReader(derAscii(tag, text), 'input').readTime()).toBe(timeMs);
    expect(toHex(derTime(timeMs))).toBe(toHex(derAscii(tag, text)));
  });

  test.each([
    [TAG.utcTime, '2601010000Z'],
    [TAG.utcTime, '260101000000+0000'],
    [TAG.utcTime, '261301000000Z'],
    [TAG.utcTime, '260230000000Z'],
    [TAG.utcTime, '260101240000Z'],
    [TAG.utcTime, '260101006000Z'],
    [TAG.utcTime, '20260101000000Z'],
    [TAG.generalizedTime, '260101000000Z'],
    [TAG.generalizedTime, '20500101000000.5Z'],
    [TAG.generalizedTime, '20500101000000'],
    [TAG.generalizedTime, '00010101000000Z'],
    [TAG.generalizedTime, '19491231235959Z'],
  ])('refuses the time %i %s', (tag, text) => {
    expect(thrownBy(() => new DerReader(derAscii(tag, text), 'input').readTime())).toMatchObject(refused);
  });

  test('takes concatenated values apart', () => {
    expect(splitDer(hex('30 00 30 01 00')).map(toHex)).toEqual(['3000', '300100']);
    expect(splitDer(new Uint8Array(0))).toEqual([]);
    expect(thrownBy(() => splitDer(hex('30 00 31 00'), 'svid'))).toMatchObject({ code: 'invalid_argument', field: 'svid' });
    expect(thrownBy(() => splitDer(hex('30 00 30')))).toMatchObject({ code: 'invalid_argument' });
  });
});

describe('DER writer', () => {
  test('writes minimal lengths', () => {
    for (const length of [0, 1, 127, 128, 255, 256, 65_535, 65_536]) {
      const value = derOctetString(new Uint8Array(length));
      expect(new DerReader(value, 'input').readContent(TAG.octetString)).toHaveLength(length);
    }
    expect(toHex(derOctetString(new Uint8Array(128)).subarray(0, 3))).toBe('048180');
    expect(toHex(derOctetString(new Uint8Array(256)).subarray(0, 4))).toBe('04820100');
  });

  test('writes minimal integers', () => {
    expect(toHex(derUnsigned(hex('00 00 7f')))).toBe('02017f');
    expect(toHex(derUnsigned(hex('80')))).toBe('02020080');
    expect(toHex(derUnsigned(hex('00')))).toBe('020100');
    expect(toHex(derUnsigned(new Uint8Array(0)))).toBe('020100');
    expect(toHex(derSmallInteger(0))).toBe('020100');
    expect(toHex(derSmallInteger(256))).toBe('02020100');
  });

  test('writes simple values', () => {
    expect(toHex(derTrue)).toBe('0101ff');
    expect(toHex(derNull)).toBe('0500');
    expect(toHex(derSet(derNull))).toBe('31020500');
    expect(toHex(derBitString(hex('f0'), 4))).toBe('030204f0');
    expect(toHex(der(0xa0, derNull, derNull))).toBe('a00405000500');
  });

  test('property: what is written reads back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 0, max: 2 ** 31 - 1 }), (bytes, integer) => {
        const outer = new DerReader(derSequence(derOctetString(bytes), derSmallInteger(integer), derBitString(bytes)), 'input');
        const inner = outer.enter(TAG.sequence);
        outer.finish();
        expect(inner.readContent(TAG.octetString)).toEqual(bytes);
        expect(inner.readSmallInteger()).toBe(integer);
        expect(inner.readBitStringBytes()).toEqual(bytes);
        inner.finish();
      }),
    );
  });

  test('property: object identifiers read back', () => {
    const arcs = fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 39 }), fc.array(fc.nat(), { maxLength: 10 }));
    fc.assert(
      fc.property(arcs, ([first, second, rest]) => {
        const dotted = [first, second, ...rest].join('.');
        expect(new DerReader(derOid(dotted), 'input').readOid()).toBe(dotted);
      }),
    );
  });

  test('property: times read back, to the second', () => {
    fc.assert(
      fc.property(fc.integer({ min: Date.UTC(1950, 0, 1), max: Date.UTC(9999, 11, 31) }), (timeMs) => {
        expect(new DerReader(derTime(timeMs), 'input').readTime()).toBe(Math.floor(timeMs / 1000) * 1000);
      }),
    );
  });

  test('property: no bytes make the reader fail otherwise than by a typed error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const input = new DerReader(bytes, 'input');
        const reads = ['readBoolean', 'readUnsigned', 'readBitString', 'readOid', 'readTime', 'readRaw'] as const;
        const codes = reads.map((read) => codeOf(() => input[read]()));
        expect(codes.filter((code) => code !== undefined && code !== 'invalid_argument')).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });
});
