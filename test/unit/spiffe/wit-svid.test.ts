import { describe, expect, test } from 'vitest';
import { JwtAuthority } from '../../../spiffe/bundle.ts';
import { formatJwk } from '../../../spiffe/jwk.ts';
import { createSpiffeId } from '../../../spiffe/spiffe-id.ts';
import { buildWitClaims, parseWitSvidInsecure, verifyWitSvid } from '../../../spiffe/wit-svid.ts';
import { TestCa, bundleSource } from '../../support/test-ca.ts';
import { createTestKey } from '../../support/test-keys.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

const ca = TestCa.create({ nowMs: Date.UTC(2026, 5, 1) });
const { nowMs } = ca;
const seconds = nowMs / 1000;
const holder = createTestKey();
const jwk = { ...formatJwk(holder.publicKey), alg: 'ES256' };

/** How the verification of a token with these claims and header ends: undefined when it is trusted. */
function outcome(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}): string | undefined {
  return codeOf(() => verifyWitSvid(ca.signWit(claims, header), ca.bundles, nowMs));
}

describe('WIT-SVID', () => {
  test('[WIT-SVID §4] that an authority of its trust domain signed is trusted, and names the holder’s key', () => {
    const svid = verifyWitSvid(ca.signWit({ cnf: { jwk } }), ca.bundles, nowMs);
    expect(svid.id.toString()).toBe('spiffe://example.org/workload');
    expect(svid).toMatchObject({
      confirmationAlgorithm: 'ES256',
      expiresAtMs: nowMs + 3_600_000,
      issuedAtMs: nowMs,
      keyId: ca.witKeyId,
    });
    expect(svid.confirmationKey.equals(holder.publicKey)).toBe(true);
    expect(svid.confirmationKey.type).toBe('public');
  });

  test('[WIT-SVID §2.1] kid MUST be present, is case-sensitive, and names a WIT authority', () => {
    expect(outcome({}, { kid: undefined })).toBe('invalid_argument');
    expect(outcome({}, { kid: '' })).toBe('invalid_argument');
    expect(outcome({}, { kid: ca.witKeyId.toUpperCase() })).toBe('unauthenticated');
    expect(outcome({}, { kid: ca.jwtKeyId })).toBe('unauthenticated');
  });

  test.each([undefined, 'JWT', 'WIT+JWT', 'application/wit+jwt', ''])(
    '[WIT-SVID §2.2] typ MUST be wit+jwt: %j is refused',
    (typ) => {
      expect(outcome({}, { typ })).toBe('invalid_argument');
    },
  );

  test('[WIT-SVID §2.4] unknown header parameters SHOULD be ignored, critical ones not', () => {
    expect(outcome({}, { foo: 'bar' })).toBeUndefined();
    expect(outcome({}, { foo: 'bar', crit: ['foo'] })).toBe('invalid_argument');
  });

  test.each([undefined, '', 'workload', 'wimse://example.org/workload', 7])(
    '[WIT-SVID §3.1] sub MUST be a SPIFFE ID: %j is refused',
    (sub) => {
      expect(outcome({ sub })).toBe('invalid_argument');
    },
  );

  test.each([
    ['nothing', undefined],
    ['no object', 'key'],
    ['no JWK', {}],
    ['a JWK that is no object', { jwk: 'key' }],
    ['a key ID only', { kid: 'key' }],
    ['no algorithm', { jwk: { ...jwk, alg: undefined } }],
    ['the algorithm none', { jwk: { ...jwk, alg: 'none' } }],
    ['a symmetric algorithm', { jwk: { kty: 'oct', k: 'AAAA', alg: 'HS256' } }],
    ['an algorithm of another curve', { jwk: { ...jwk, alg: 'ES384' } }],
    ['an algorithm of another key type', { jwk: { ...jwk, alg: 'RS256' } }],
    ['an unknown key type', { jwk: { kty: 'OKP', crv: 'Ed25519', x: 'AAAA', alg: 'ES256' } }],
    ['a private key', { jwk: { ...jwk, d: 'AAAA' } }],
    ['a point off the curve', { jwk: { ...jwk, x: formatJwk(holder.publicKey)['y'] } }],
    ['a weak RSA key', { jwk: { ...formatJwk(createTestKey('RSA-1024').publicKey), alg: 'RS256' } }],
  ])('[WIT-SVID §3.2] validators MUST reject a token whose cnf has %s', (_what, cnf) => {
    expect(outcome({ cnf })).toBe('invalid_argument');
  });

  test.each([
    ['P-384', 'ES384'],
    ['P-521', 'ES512'],
    ['RSA-2048', 'RS256'],
    ['RSA-2048', 'PS512'],
  ] as const)('[WIT-SVID §3.2] cnf may hold a key of %s with %s', (kind, alg) => {
    const cnf = { jwk: { ...formatJwk(createTestKey(kind).publicKey), alg } };
    expect(outcome({ cnf })).toBeUndefined();
  });

  test('[WIT-SVID §3.4] exp MUST be present and not in the past, with a minute of leeway', () => {
    expect(outcome({ exp: undefined })).toBe('invalid_argument');
    expect(outcome({ exp: seconds - 60 })).toBeUndefined();
    expect(outcome({ exp: seconds - 61 })).toBe('unauthenticated');
  });

  test('[WIT-SVID §3.5] validators MUST reject a token whose nbf is in the future', () => {
    expect(outcome({ nbf: seconds + 61 })).toBe('unauthenticated');
    expect(outcome({ nbf: seconds - 10 })).toBeUndefined();
  });

  test('[WIT-SVID §3.6] iat MUST NOT limit the earliest validity', () => {
    expect(outcome({ iat: seconds + 10_000 })).toBeUndefined();
    expect(outcome({ iat: undefined })).toBeUndefined();
  });

  test('[WIT-SVID §3.3] [WIT-SVID §3.7] jti and iss MAY be present', () => {
    expect(outcome({ jti: 'x', iss: 'countersign' })).toBeUndefined();
  });

  test('[WIT-SVID §3.8] aud MUST NOT be included; other claims are ignored', () => {
    expect(outcome({ aud: ['x'] })).toBe('invalid_argument');
    expect(outcome({ aud: [] })).toBe('invalid_argument');
    expect(outcome({ foo: 'bar' })).toBeUndefined();
  });

  test('[WIT-SVID §6.2] only WIT authorities of its own trust domain verify it', () => {
    const asJwt = bundleSource(
      ca.bundle({ witAuthorities: [], jwtAuthorities: [new JwtAuthority(ca.witKeyId, ca.witKey.spki)] }),
    );
    expect(codeOf(() => verifyWitSvid(ca.signWit(), asJwt, nowMs))).toBe('unauthenticated');
    const foreign = TestCa.create({ trustDomain: 'foreign.example', nowMs });
    expect(codeOf(() => verifyWitSvid(foreign.signWit(), ca.bundles, nowMs))).toBe('unauthenticated');
    const both = bundleSource(ca.bundle(), foreign.bundle());
    expect(codeOf(() => verifyWitSvid(foreign.signWit({ sub: 'spiffe://example.org/x' }), both, nowMs))).toBe('unauthenticated');
  });

  test('[WIT-SVID §4] a wrong signature is refused', () => {
    expect(codeOf(() => verifyWitSvid(ca.signWit({}, {}, createTestKey()), ca.bundles, nowMs))).toBe('unauthenticated');
  });

  test('is read without verification by the party that just received it', () => {
    expect(parseWitSvidInsecure(ca.signWit({ exp: 1 }, {}, createTestKey())).expiresAtMs).toBe(1000);
  });
});

describe('claims of a WIT-SVID', () => {
  const input = {
    id: createSpiffeId(ca.trustDomain, '/workload'),
    confirmationKey: holder.publicKey,
    confirmationAlgorithm: 'ES256',
    issuedAtMs: nowMs + 500,
    expiresAtMs: nowMs + 3_600_500,
  } as const;

  test('[WIT-SVID §4] the issuer MUST set sub, exp and cnf with its algorithm; no aud', () => {
    expect(buildWitClaims(input)).toEqual({
      sub: 'spiffe://example.org/workload',
      exp: seconds + 3600,
      iat: seconds,
      cnf: { jwk },
    });
  });

  test('[WIT-SVID §3.3] [WIT-SVID §3.7] the issuer MAY set jti and iss', () => {
    expect(buildWitClaims({ ...input, tokenId: 'id', issuer: 'countersign' })).toMatchObject({ jti: 'id', iss: 'countersign' });
  });

  test.each([
    ['a private key', { ...input, confirmationKey: holder.privateKey }],
    ['an algorithm of another key', { ...input, confirmationAlgorithm: 'RS256' as const }],
    ['a key that signs no token', { ...input, confirmationKey: createTestKey('Ed25519').publicKey }],
    ['a weak key', { ...input, confirmationKey: createTestKey('RSA-1024').publicKey, confirmationAlgorithm: 'RS256' as const }],
  ])('are refused for %s', (_what, wrong) => {
    expect(thrownBy(() => buildWitClaims(wrong))).toMatchObject({ code: 'invalid_argument', field: 'confirmation_key' });
  });
});
