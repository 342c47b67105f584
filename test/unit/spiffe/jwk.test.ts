import { describe, expect, test } from 'vitest';
import { formatJwk, parseJwk } from '../../../spiffe/jwk.ts';
import { createTestKey } from '../../support/test-keys.ts';
import { thrownBy } from '../../support/thrown-by.ts';

const ec = formatJwk(createTestKey().publicKey);
const rsa = formatJwk(createTestKey('RSA-2048').publicKey);

describe('JWK', () => {
  test.each(['P-256', 'P-384', 'P-521', 'RSA-2048', 'RSA-3072'] as const)('of %s reads back', (kind) => {
    const { publicKey } = createTestKey(kind);
    const jwk = formatJwk(publicKey);
    expect(
      parseJwk({ ...jwk, kid: 'x', use: 'jwt-svid', foo: 1 }, 'key')
        ?.keyObject()
        .equals(publicKey),
    ).toBe(true);
    expect(parseJwk(jwk, 'key')?.kind).toBe(kind.startsWith('RSA') ? 'rsa' : kind.toLowerCase().replace('p-', 'ec-p'));
  });

  test('never holds private parts', () => {
    expect(Object.keys(formatJwk(createTestKey().privateKey))).toEqual(['kty', 'crv', 'x', 'y']);
    expect(Object.keys(formatJwk(createTestKey('RSA-2048').privateKey))).toEqual(['kty', 'n', 'e']);
  });

  test.each([
    {},
    { kty: 'oct', k: 'AAAA' },
    { kty: 'OKP', crv: 'Ed25519', x: 'AAAA' },
    { kty: 'EC', crv: 'secp256k1', x: 'AAAA', y: 'AAAA' },
    { kty: 'EC' },
    { kty: 'ec', crv: 'P-256' },
    { kty: 7 },
  ])('[Trust Domain and Bundle §4.2.1] of an unknown key type is passed over: %j', (jwk) => {
    expect(parseJwk(jwk, 'key')).toBeUndefined();
  });

  test.each([
    ['a private EC key', { ...ec, d: 'AAAA' }],
    ['a private RSA key', { ...rsa, d: 'AAAA' }],
    ['a prime', { ...rsa, p: 'AAAA' }],
    ['no y', { ...ec, y: undefined }],
    ['a short x', { ...ec, x: 'AAAA' }],
    ['a padded x', { ...ec, x: `${ec['x']}=` }],
    ['an x with a leading zero byte', { ...ec, x: Buffer.alloc(33).toString('base64url') }],
    ['a point off the curve', { ...ec, y: ec['x'] }],
    ['a number for x', { ...ec, x: 7 }],
    ['no n', { ...rsa, n: '' }],
    ['an n with a leading zero byte', { ...rsa, n: `AA${rsa['n']}` }],
    ['an n of 16,384 bits', { ...rsa, n: Buffer.alloc(2048, 0xff).toString('base64url') }],
    ['an n of 1,024 bits', { ...rsa, n: Buffer.alloc(128, 0xff).toString('base64url') }],
    ['e = 1', { ...rsa, e: 'AQ' }],
  ])('with %s is refused', (_what, jwk) => {
    expect(thrownBy(() => parseJwk(jwk, 'bundle.keys[1]'))).toMatchObject({ code: 'invalid_argument', field: 'bundle.keys[1]' });
  });
});
