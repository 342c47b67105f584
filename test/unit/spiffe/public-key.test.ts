import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { derBitString, derNull, derOid, derSequence, derSmallInteger, derUnsigned } from '../../../spiffe/der-writer.ts';
import { parsePublicKey, subjectKeyIdOf } from '../../../spiffe/public-key.ts';
import { createTestKey } from '../../support/test-keys.ts';
import { thrownBy } from '../../support/thrown-by.ts';

const refused = { code: 'invalid_argument', field: 'public_key' } as const;
const RSA = derSequence(derOid('1.2.840.113549.1.1.1'), derNull);
const modulusOf = (bytes: number, first = 0xff): Uint8Array => Uint8Array.from([first, ...new Uint8Array(bytes - 1).fill(0xff)]);
const rsaOf = (modulus: Uint8Array, exponent: Uint8Array = derSmallInteger(65_537)): Uint8Array =>
  derSequence(RSA, derBitString(derSequence(derUnsigned(modulus), exponent)));

describe('public key', () => {
  test.each([
    ['P-256', 'ec-p256', 256],
    ['P-384', 'ec-p384', 384],
    ['P-521', 'ec-p521', 521],
    ['RSA-2048', 'rsa', 2048],
    ['RSA-4096', 'rsa', 4096],
    ['Ed25519', 'ed25519', 256],
  ] as const)('of %s is read and imported once', (testKind, kind, bits) => {
    const key = createTestKey(testKind);
    const info = parsePublicKey(key.spki);
    expect(info).toMatchObject({ kind, bits });
    expect(Buffer.compare(info.spki, key.spki)).toBe(0);
    expect(info.keyObject().equals(key.publicKey)).toBe(true);
    expect(info.keyObject()).toBe(info.keyObject());
  });

  test.each(['RSA-1024', 'P-224', 'secp256k1'] as const)('of %s is refused', (kind) => {
    expect(thrownBy(() => parsePublicKey(createTestKey(kind).spki))).toMatchObject(refused);
  });

  test('of RSA is accepted from 2,048 to 8,192 bits', () => {
    expect(parsePublicKey(rsaOf(modulusOf(256, 0x80))).bits).toBe(2048);
    expect(parsePublicKey(rsaOf(modulusOf(1024))).bits).toBe(8192);
    expect(thrownBy(() => parsePublicKey(rsaOf(modulusOf(256, 0x7f))))).toMatchObject(refused);
    expect(thrownBy(() => parsePublicKey(rsaOf(modulusOf(1025, 0x01))))).toMatchObject(refused);
    expect(thrownBy(() => parsePublicKey(rsaOf(modulusOf(2048))))).toMatchObject(refused);
  });

  test.each([
    ['RSA with exponent 1', rsaOf(modulusOf(256), derSmallInteger(1))],
    ['RSA with an even exponent', rsaOf(modulusOf(256), derSmallInteger(4))],
    ['RSA with an exponent of five bytes', rsaOf(modulusOf(256), derUnsigned(Uint8Array.of(1, 0, 0, 0, 1)))],
    ['RSA with a negative modulus', derSequence(RSA, derBitString(derSequence(Uint8Array.of(2, 1, 0x80), derSmallInteger(3))))],
    ['RSA without parameters', derSequence(derSequence(derOid('1.2.840.113549.1.1.1')), derBitString(derSequence()))],
    [
      'RSA with a third number',
      derSequence(RSA, derBitString(derSequence(derUnsigned(modulusOf(256)), derSmallInteger(3), derNull))),
    ],
    ['EC without curve', derSequence(derSequence(derOid('1.2.840.10045.2.1')), derBitString(Uint8Array.of(4)))],
    [
      'EC with explicit curve',
      derSequence(derSequence(derOid('1.2.840.10045.2.1'), derSequence()), derBitString(Uint8Array.of(4))),
    ],
    ['a compressed point', ecOf(Uint8Array.from([2, ...new Uint8Array(32)]))],
    ['a short point', ecOf(Uint8Array.from([4, ...new Uint8Array(63)]))],
    ['the point at infinity', ecOf(Uint8Array.of(0))],
    ['a short Ed25519 key', derSequence(derSequence(derOid('1.3.101.112')), derBitString(new Uint8Array(31)))],
    ['Ed25519 with parameters', derSequence(derSequence(derOid('1.3.101.112'), derNull), derBitString(new Uint8Array(32)))],
    ['DSA', derSequence(derSequence(derOid('1.2.840.10040.4.1')), derBitString(new Uint8Array(32)))],
    ['nothing', new Uint8Array(0)],
    ['trailing bytes', Buffer.concat([createTestKey().spki, derNull])],
  ])('that is %s is refused', (_what, spki) => {
    expect(thrownBy(() => parsePublicKey(spki))).toMatchObject(refused);
  });

  test('that is no point of its curve is refused when it is imported', () => {
    const info = parsePublicKey(ecOf(Uint8Array.from([4, ...new Uint8Array(64).fill(1)])), 'csr.public_key');
    expect(thrownBy(() => info.keyObject())).toMatchObject({ code: 'invalid_argument', field: 'csr.public_key' });
  });

  test('has the SHA-1 of its bits as identifier, as in SPIRE', () => {
    const { spki } = createTestKey();
    expect(Buffer.from(subjectKeyIdOf(spki)).toString('hex')).toBe(createHash('sha1').update(spki.subarray(26)).digest('hex'));
  });
});

function ecOf(point: Uint8Array): Uint8Array {
  return derSequence(derSequence(derOid('1.2.840.10045.2.1'), derOid('1.2.840.10045.3.1.7')), derBitString(point));
}
