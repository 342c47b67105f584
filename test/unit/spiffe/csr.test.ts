import { constants, sign } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeExtension } from '../../../spiffe/certificate-writer.ts';
import { parseCsr, spiffeIdOfCsr, verifyCsr } from '../../../spiffe/csr.ts';
import { TAG, contextConstructedTag, contextTag } from '../../../spiffe/der.ts';
import {
  der,
  derBitString,
  derNull,
  derOid,
  derSequence,
  derSet,
  derSmallInteger,
  derUnsigned,
} from '../../../spiffe/der-writer.ts';
import { createTestCsr, extensionRequest } from '../../support/test-csr.ts';
import { createTestKey } from '../../support/test-keys.ts';
import type { TestKey } from '../../support/test-keys.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

const refused = { code: 'invalid_argument', field: 'csr' } as const;

describe('CSR', () => {
  test('is read and verified', () => {
    const key = createTestKey();
    const der = createTestCsr({ key, subject: { organization: 'Acme' }, dnsNames: ['a.example.org', 'b.example.org'] });
    const csr = parseCsr(der);
    verifyCsr(csr);
    expect(spiffeIdOfCsr(csr).toString()).toBe('spiffe://example.org/workload');
    expect(csr.dnsSans).toEqual(['a.example.org', 'b.example.org']);
    expect(Buffer.compare(csr.spki, key.spki)).toBe(0);
    expect(csr.publicKeyInfo.kind).toBe('ec-p256');
    expect(csr.raw).toBe(der);
    expect(csr.signatureAlgorithm).toBe('ecdsa-with-SHA256');
  });

  test.each(['P-256', 'P-384', 'P-521', 'RSA-2048', 'RSA-4096', 'Ed25519'] as const)('is accepted with a key of %s', (kind) => {
    verifyCsr(parseCsr(createTestCsr({ key: createTestKey(kind) })));
  });

  test('may ask for nothing at all', () => {
    expect(parseCsr(createTestCsr({ attributes: [] })).uriSans).toEqual([]);
    expect(parseCsr(createTestCsr({ uris: [] })).uriSans).toEqual([]);
    const unnamed = createTestCsr({ attributes: [derSequence(derOid('1.2.840.113549.1.9.7'), derSet(derNull))] });
    expect(parseCsr(unnamed).uriSans).toEqual([]);
  });

  test('without the attributes field is accepted as Go accepts it', () => {
    const key = createTestKey();
    const info = derSequence(derSmallInteger(0), derSequence(), key.spki);
    const algorithm = derSequence(derOid('1.2.840.10045.4.3.2'));
    verifyCsr(parseCsr(derSequence(info, algorithm, derBitString(sign('sha256', info, key.privateKey)))));
  });

  test('passes over extensions that are not names, critical ones too: the profile decides', () => {
    const extra = [encodeExtension('2.5.29.19', derSequence(), true), encodeExtension('1.2.3.4', derNull, true)];
    expect(parseCsr(createTestCsr({ extraExtensions: extra })).uriSans).toHaveLength(1);
  });

  test('that is signed with another key is refused', () => {
    const csr = parseCsr(createTestCsr({ signingKey: createTestKey() }));
    expect(thrownBy(() => verifyCsr(csr))).toMatchObject(refused);
  });

  test('of which one bit is changed is refused', () => {
    const der = Uint8Array.from(createTestCsr());
    der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
    expect(codeOf(() => verifyCsr(parseCsr(der)))).toBe('invalid_argument');
  });

  test('whose algorithm does not fit its key is refused', () => {
    const csr = parseCsr(createTestCsr({ signingKey: createTestKey('RSA-2048') }));
    expect(thrownBy(() => verifyCsr(csr))).toMatchObject(refused);
  });

  test('that is signed with SHA-1 is refused', () => {
    const key = createTestKey();
    const info = derSequence(derSmallInteger(0), derSequence(), key.spki, der(contextConstructedTag(0)));
    const algorithm = derSequence(derOid('1.2.840.10045.4.1'));
    const csr = parseCsr(derSequence(info, algorithm, derBitString(sign('sha1', info, key.privateKey))));
    expect(thrownBy(() => verifyCsr(csr))).toMatchObject(refused);
  });

  test('that is signed with RSASSA-PSS is accepted', () => {
    const key = createTestKey('RSA-2048');
    const info = derSequence(derSmallInteger(0), derSequence(), key.spki, der(contextConstructedTag(0)));
    const hash = derSequence(derOid('2.16.840.1.101.3.4.2.1'), derNull);
    const algorithm = derSequence(
      derOid('1.2.840.113549.1.1.10'),
      derSequence(
        der(contextConstructedTag(0), hash),
        der(contextConstructedTag(1), derSequence(derOid('1.2.840.113549.1.1.8'), hash)),
        der(contextConstructedTag(2), derSmallInteger(32)),
      ),
    );
    const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    const signature = sign('sha256', info, { key: key.privateKey, ...padding });
    const csr = parseCsr(derSequence(info, algorithm, derBitString(signature)));
    expect(csr.signatureAlgorithm).toBe('rsassa-pss-sha256');
    verifyCsr(csr);
  });

  test.each(['RSA-1024', 'P-224', 'secp256k1'] as const)('with a key of %s is refused, naming the key', (kind) => {
    expect(thrownBy(() => parseCsr(createTestCsr({ key: createTestKey(kind) })))).toMatchObject({
      code: 'invalid_argument',
      field: 'csr.public_key',
    });
  });

  test('with RSA-16384 is refused before any arithmetic', () => {
    const modulus = new Uint8Array(2048).fill(0xff);
    const rsa = derSequence(derUnsigned(modulus), derSmallInteger(65_537));
    const spki = derSequence(derSequence(derOid('1.2.840.113549.1.1.1'), derNull), derBitString(rsa));
    const info = derSequence(derSmallInteger(0), derSequence(), spki, der(contextConstructedTag(0)));
    const csr = derSequence(info, derSequence(derOid('1.2.840.113549.1.1.11'), derNull), derBitString(new Uint8Array(2048)));
    const startMs = performance.now();
    for (let round = 0; round < 100; round++) {
      expect(thrownBy(() => parseCsr(csr))).toMatchObject({ code: 'invalid_argument', field: 'csr.public_key' });
    }
    expect(performance.now() - startMs).toBeLessThan(1000);
  });

  test('with a point that is not on the curve is refused', () => {
    const key = createTestKey();
    const bent = Uint8Array.from(key.spki);
    bent[bent.length - 1] = (bent.at(-1) ?? 0) ^ 1;
    const offCurve: TestKey = { ...key, spki: bent };
    const csr = parseCsr(createTestCsr({ key: offCurve }));
    expect(thrownBy(() => verifyCsr(csr))).toMatchObject({ code: 'invalid_argument', field: 'csr.public_key' });
  });

  test.each([
    ['no URI name', [], 'csr'],
    ['two URI names', ['spiffe://example.org/a', 'spiffe://example.org/b'], 'csr'],
    ['a URI that is no SPIFFE ID', ['https://example.org/a'], 'csr.uri_san'],
    ['a SPIFFE ID with tricks', ['spiffe://example.org/a/../b'], 'csr.uri_san'],
  ])('with %s names no identity', (_what, uris, field) => {
    const csr = parseCsr(createTestCsr({ uris }));
    expect(thrownBy(() => spiffeIdOfCsr(csr))).toMatchObject({ code: 'invalid_argument', field });
  });

  test('that is empty, too large or no CSR is refused', () => {
    expect(thrownBy(() => parseCsr(new Uint8Array(0)))).toMatchObject(refused);
    expect(thrownBy(() => parseCsr(new Uint8Array(32_769)))).toMatchObject(refused);
    expect(thrownBy(() => parseCsr(Buffer.from('not a csr'), 'params[3].csr'))).toMatchObject({ field: 'params[3].csr' });
  });

  test.each([
    ['trailing bytes', Buffer.concat([createTestCsr(), Uint8Array.of(0)])],
    ['another version', createTestCsr({ version: 1 })],
    [
      'two extension requests',
      createTestCsr({ attributes: [extensionRequest([anyExtension()]), extensionRequest([anyExtension()])] }),
    ],
    ['an empty extension request', createTestCsr({ attributes: [extensionRequest([])] })],
    ['two extension lists in one attribute', createTestCsr({ attributes: [twoLists()] })],
    ['an extension twice', createTestCsr({ attributes: [extensionRequest([anyExtension(), anyExtension()])] })],
    [
      'an empty alternative name',
      createTestCsr({ attributes: [extensionRequest([encodeExtension('2.5.29.17', derSequence(), false)])] }),
    ],
    ['a URI beyond ASCII', createTestCsr({ attributes: [extensionRequest([nonAsciiUri()])] })],
    ['a name of unknown kind', createTestCsr({ attributes: [extensionRequest([unknownName()])] })],
    ['a name that is no set', createTestCsr({ attributes: [derSequence(derOid('1.2.3'), derNull)] })],
  ])('with %s is refused', (_what, csr) => {
    expect(codeOf(() => parseCsr(csr))).toBe('invalid_argument');
  });

  test('property: a CSR with any one byte changed is refused or fails verification', () => {
    const der = createTestCsr();
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (position, flip) => {
        const bent = Uint8Array.from(der);
        bent[position] = (bent[position] ?? 0) ^ flip;
        expect(codeOf(() => verifyCsr(parseCsr(bent)))).toBe('invalid_argument');
      }),
      { numRuns: 500 },
    );
  });
});

function anyExtension(): Uint8Array {
  return encodeExtension('1.2.3', derNull, false);
}

function twoLists(): Uint8Array {
  return derSequence(derOid('1.2.840.113549.1.9.14'), derSet(derSequence(anyExtension()), derSequence(anyExtension())));
}

function nonAsciiUri(): Uint8Array {
  return encodeExtension('2.5.29.17', derSequence(der(contextTag(6), Buffer.from('spiffe://exämple.org/a'))), false);
}

function unknownName(): Uint8Array {
  return encodeExtension('2.5.29.17', derSequence(der(TAG.utf8String, Buffer.from('a'))), false);
}
