import { createHmac, createPublicKey, sign } from 'node:crypto';
import * as jose from 'jose';
import { describe, expect, test } from 'vitest';
import { encodeBase64url } from '../../../spiffe/base64url.ts';
import {
  MAX_TOKEN_BYTES,
  defaultJwsAlgorithm,
  fitsKey,
  isJwsAlgorithm,
  parseJws,
  signJws,
  verifyJws,
} from '../../../spiffe/jwt.ts';
import type { JwsAlgorithm } from '../../../spiffe/jwt.ts';
import { createTestKey } from '../../support/test-keys.ts';
import type { TestKeyKind } from '../../support/test-keys.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

const KEY_OF: Readonly<Record<JwsAlgorithm, TestKeyKind>> = {
  RS256: 'RSA-2048',
  RS384: 'RSA-2048',
  RS512: 'RSA-2048',
  PS256: 'RSA-2048',
  PS384: 'RSA-2048',
  PS512: 'RSA-2048',
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
};
// The cast is sound: the keys of the record above are exactly the algorithms.
const ALGORITHMS = Object.keys(KEY_OF) as JwsAlgorithm[];
const key = createTestKey();
const json = (value: unknown): string => encodeBase64url(JSON.stringify(value));
const token = (header: unknown, payload: unknown = {}, signature = 'AA'): string =>
  `${json(header)}.${json(payload)}.${signature}`;

describe('JWS', () => {
  test.each(ALGORITHMS)('signed with %s verifies here and in jose', async (alg) => {
    const { privateKey, publicKey } = createTestKey(KEY_OF[alg]);
    const jws = signJws({ header: { alg, kid: 'k' }, payload: { sub: 'ä' }, key: privateKey });
    const parsed = parseJws(jws);
    verifyJws(parsed, publicKey);
    expect(parsed).toMatchObject({ algorithm: alg, keyId: 'k', type: undefined, payload: { sub: 'ä' } });
    const { payload } = await jose.jwtVerify(jws, publicKey);
    expect(payload.sub).toBe('ä');
  });

  test.each(ALGORITHMS)('signed with %s by jose verifies here', async (alg) => {
    const { privateKey, publicKey } = createTestKey(KEY_OF[alg]);
    const jws = await new jose.SignJWT({ a: 1 }).setProtectedHeader({ alg, typ: 'JWT' }).sign(privateKey);
    verifyJws(parseJws(jws), publicKey);
  });

  test.each(['none', 'None', 'HS256', 'HS384', 'HS512', 'EdDSA', 'ES256K', 'RS1', 'es256', '', 7, null, undefined, ['ES256']])(
    '[JWT-SVID §2.1] [WIT-SVID §2.3] validators MUST reject the algorithm %j',
    (alg) => {
      expect(isJwsAlgorithm(alg)).toBe(false);
      expect(codeOf(() => parseJws(token({ alg })))).toBe('invalid_argument');
    },
  );

  test('[JWT-SVID §2.1] an unsigned token is refused', () => {
    expect(codeOf(() => parseJws(`${json({ alg: 'none' })}.${json({})}.`))).toBe('invalid_argument');
  });

  test('a public key is never taken for an HMAC secret', () => {
    const pem = key.publicKey.export({ type: 'spki', format: 'pem' });
    const signedPart = `${json({ alg: 'HS256' })}.${json({})}`;
    const signature = createHmac('sha256', pem).update(signedPart).digest('base64url');
    expect(codeOf(() => parseJws(`${signedPart}.${signature}`))).toBe('invalid_argument');
  });

  test.each([
    ['two parts', 'e30.e30'],
    ['four parts', 'e30.e30.AA.AA'],
    ['five parts, as JWE has', 'e30.e30.AA.AA.AA'],
    ['[JWT-SVID §1] [JWT-SVID §5.1] JSON serialization', '{"payload":"e30","signatures":[{"protected":"e30","signature":"AA"}]}'],
    ['nothing', ''],
    ['padding', `${Buffer.from('{"alg": "ES256"}').toString('base64')}.e30.AA`],
    ['white space', ` ${token({ alg: 'ES256' })}`],
    ['a line end', `${token({ alg: 'ES256' })}\n`],
    ['set unused bits in the signature', token({ alg: 'ES256' }, {}, 'AB')],
    ['standard base64', token({ alg: 'ES256' }, {}, 'a+/b')],
    ['a header that is no object', `${json([])}.e30.AA`],
    ['a payload that is no object', `${json({ alg: 'ES256' })}.${json('text')}.AA`],
    ['a payload that is not JSON', `${json({ alg: 'ES256' })}.AAAA.AA`],
    ['a claim twice', `${json({ alg: 'ES256' })}.${encodeBase64url('{"sub":"a","sub":"b"}')}.AA`],
    ['a header parameter twice', `${encodeBase64url('{"alg":"ES256","alg":"none"}')}.e30.AA`],
    ['[WIT-SVID §2.4] crit', token({ alg: 'ES256', crit: ['exp'] })],
    ['an empty crit', token({ alg: 'ES256', crit: [] })],
    ['a kid that is no text', token({ alg: 'ES256', kid: 7 })],
    ['a typ that is no text', token({ alg: 'ES256', typ: ['JWT'] })],
    ['more than is read', token({ alg: 'ES256' }, { a: 'x'.repeat(MAX_TOKEN_BYTES) })],
  ])('with %s is refused', (_what, text) => {
    expect(thrownBy(() => parseJws(text)).code).toBe('invalid_argument');
  });

  test('never shows up in an error', () => {
    const { message } = thrownBy(() =>
      parseJws(`${json({ alg: 'none', kid: 'visible' })}.${json({ sub: 'visible' })}.dmlzaWJsZQ`),
    );
    expect(message).not.toMatch(/visible|dmlz/);
  });

  test('with unknown header parameters is read', () => {
    expect(parseJws(token({ alg: 'ES256', jku: 'https://evil.example', x5u: 'x', foo: 1 })).algorithm).toBe('ES256');
  });

  test.each(ALGORITHMS)('of %s is refused by keys that do not fit', (alg) => {
    const { privateKey } = createTestKey(KEY_OF[alg]);
    const jws = parseJws(signJws({ header: { alg }, payload: {}, key: privateKey }));
    for (const kind of ['P-256', 'P-384', 'P-521', 'RSA-2048', 'Ed25519', 'secp256k1'] as const) {
      const { publicKey } = createTestKey(kind, { fresh: true });
      expect(codeOf(() => verifyJws(jws, publicKey))).toBe('unauthenticated');
    }
  });

  test('is refused by weak RSA keys', () => {
    const weak = createTestKey('RSA-1024');
    const signedPart = `${json({ alg: 'RS256' })}.${json({})}`;
    const signature = sign('sha256', Buffer.from(signedPart), weak.privateKey).toString('base64url');
    expect(codeOf(() => verifyJws(parseJws(`${signedPart}.${signature}`), weak.publicKey))).toBe('unauthenticated');
  });

  test('with an ECDSA signature in DER, cut off, or all zero is refused', () => {
    const signedPart = `${json({ alg: 'ES256' })}.${json({})}`;
    const der = sign('sha256', Buffer.from(signedPart), key.privateKey);
    const raw = sign('sha256', Buffer.from(signedPart), { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
    for (const signature of [der, raw.subarray(0, 63), Buffer.concat([raw, Buffer.of(0)]), Buffer.alloc(64), Buffer.alloc(0)]) {
      const jws = parseJws(`${signedPart}.${signature.toString('base64url')}`);
      expect(codeOf(() => verifyJws(jws, key.publicKey))).toBe('unauthenticated');
    }
    verifyJws(parseJws(`${signedPart}.${raw.toString('base64url')}`), key.publicKey);
  });

  test('of which the payload is exchanged is refused', () => {
    const [header = '', , signature = ''] = signJws({ header: { alg: 'ES256' }, payload: { a: 1 }, key: key.privateKey }).split(
      '.',
    );
    const jws = parseJws(`${header}.${json({ a: 2 })}.${signature}`);
    expect(thrownBy(() => verifyJws(jws, key.publicKey))).toMatchObject({ code: 'unauthenticated' });
  });
});

describe('signing', () => {
  test.each([
    ['P-256', 'ES256'],
    ['P-384', 'ES384'],
    ['P-521', 'ES512'],
    ['RSA-2048', 'RS256'],
  ] as const)('a key of %s signs with %s unless told otherwise', (kind, algorithm) => {
    const { privateKey, publicKey } = createTestKey(kind);
    expect(defaultJwsAlgorithm(privateKey)).toBe(algorithm);
    expect(fitsKey(algorithm, publicKey)).toBe(true);
  });

  test.each(['Ed25519', 'secp256k1', 'P-224', 'RSA-1024'] as const)('a key of %s signs no token', (kind) => {
    expect(codeOf(() => defaultJwsAlgorithm(createTestKey(kind).privateKey))).toBe('invalid_argument');
  });

  test('refuses an algorithm that does not fit the key', () => {
    const parts = { header: { alg: 'ES384' }, payload: {}, key: key.privateKey } as const;
    expect(codeOf(() => signJws(parts))).toBe('invalid_argument');
    expect(codeOf(() => signJws({ ...parts, header: { alg: 'RS256' } }))).toBe('invalid_argument');
  });

  test('is done by the private part', () => {
    const jws = parseJws(signJws({ header: { alg: 'ES256' }, payload: {}, key: key.privateKey }));
    verifyJws(jws, createPublicKey(key.privateKey));
  });
});
