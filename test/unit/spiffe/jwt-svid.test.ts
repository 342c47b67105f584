import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JwtAuthority } from '../../../spiffe/bundle.ts';
import { parseJwtSvidInsecure, verifyJwtSvid } from '../../../spiffe/jwt-svid.ts';
import { TestCa, bundleSource } from '../../support/test-ca.ts';
import { createTestKey } from '../../support/test-keys.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

const ca = TestCa.create({ nowMs: Date.UTC(2026, 5, 1) });
const { nowMs } = ca;
const seconds = nowMs / 1000;
const AUDIENCE = ['test-audience'];

/** How the verification of a token with these claims and header ends: undefined when it is trusted. */
function outcome(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}): string | undefined {
  return codeOf(() => verifyJwtSvid(ca.signJwt(claims, header), AUDIENCE, ca.bundles, nowMs));
}

describe('JWT-SVID', () => {
  test('[JWT-SVID §4] that an authority of its trust domain signed is trusted', () => {
    const token = ca.signJwt({ aud: ['other', 'test-audience'], custom: { a: [1] } });
    const svid = verifyJwtSvid(token, ['mine', 'test-audience'], ca.bundles, nowMs);
    expect(svid.id.toString()).toBe('spiffe://example.org/workload');
    expect(svid).toMatchObject({
      audience: ['other', 'test-audience'],
      expiresAtMs: nowMs + 300_000,
      issuedAtMs: nowMs,
      keyId: ca.jwtKeyId,
      claims: { custom: { a: [1] }, sub: 'spiffe://example.org/workload' },
    });
  });

  test.each(['RSA-2048', 'P-384', 'P-521'] as const)('[JWT-SVID §2.1] may be signed by a key of %s', (kind) => {
    const key = createTestKey(kind);
    const bundles = bundleSource(ca.bundle({ jwtAuthorities: [new JwtAuthority('other', key.spki)] }));
    expect(codeOf(() => verifyJwtSvid(ca.signJwt({}, { kid: 'other' }, key), AUDIENCE, bundles, nowMs))).toBeUndefined();
  });

  test('[JWT-SVID §2.1] MUST have an algorithm that fits the authority', () => {
    const rsa = createTestKey('RSA-2048');
    expect(codeOf(() => verifyJwtSvid(ca.signJwt({}, {}, rsa), AUDIENCE, ca.bundles, nowMs))).toBe('unauthenticated');
  });

  test('[JWT-SVID §2.2] the key ID is looked up in the bundle; a token without one is refused, as by go-spiffe and SPIRE', () => {
    expect(outcome({}, { kid: undefined })).toBe('invalid_argument');
    expect(outcome({}, { kid: '' })).toBe('invalid_argument');
    expect(outcome({}, { kid: 'foreign' })).toBe('unauthenticated');
    expect(outcome({}, { kid: ca.witKeyId })).toBe('unauthenticated');
  });

  test.each(['JWT', 'JOSE', undefined])('[JWT-SVID §2.3] the type may be %j', (typ) => {
    expect(outcome({}, { typ })).toBeUndefined();
  });

  test.each(['jwt', 'wit+jwt', 'at+jwt', 'application/jwt', ''])('[JWT-SVID §2.3] the type MUST NOT be %j', (typ) => {
    expect(outcome({}, { typ })).toBe('invalid_argument');
  });

  test.each([
    undefined,
    '',
    'workload',
    7,
    ['spiffe://example.org/workload'],
    'https://example.org/workload',
    'spiffe://example.org/a/../b',
  ])('[JWT-SVID §3.1] the subject MUST be a SPIFFE ID: %j is refused', (sub) => {
    expect(outcome({ sub })).toBe('invalid_argument');
  });

  test.each([undefined, [], 7, [7], [['test-audience']], {}, null, ['test-audience', 1]])(
    '[JWT-SVID §3.2] validators MUST reject a token whose audience is %j',
    (aud) => {
      expect(outcome({ aud })).toBe('invalid_argument');
    },
  );

  test.each(['other', '', ['other'], ['TEST-AUDIENCE'], ['test-audience ']])(
    '[JWT-SVID §3.2] validators MUST reject a token that is not for them: %j',
    (aud) => {
      expect(outcome({ aud })).toBe('unauthenticated');
    },
  );

  test('[JWT-SVID §3.2] the audience may be a single text', () => {
    expect(outcome({ aud: 'test-audience' })).toBeUndefined();
  });

  test('[JWT-SVID §3.2] a validator that answers to no audience validates nothing', () => {
    expect(thrownBy(() => verifyJwtSvid(ca.signJwt(), [], ca.bundles, nowMs))).toMatchObject({
      code: 'invalid_argument',
      field: 'audience',
    });
  });

  test.each([undefined, null, '1780000000', {}, 1e300])(
    '[JWT-SVID §3.3] validators MUST reject a token whose expiry is %j',
    (exp) => {
      expect(outcome({ exp })).toBe('invalid_argument');
    },
  );

  test('[JWT-SVID §3.3] an expired token is refused, with a minute of leeway as in go-spiffe', () => {
    expect(outcome({ exp: seconds - 60 })).toBeUndefined();
    expect(outcome({ exp: seconds - 61 })).toBe('unauthenticated');
    expect(outcome({ exp: seconds - 59.5 })).toBeUndefined();
    expect(outcome({ exp: 0 })).toBe('unauthenticated');
    expect(outcome({ exp: -1 })).toBe('unauthenticated');
  });

  test('[JWT-SVID §4] [RFC 7519 §4.1.5] nbf and iat in the future are refused, with a minute of leeway', () => {
    expect(outcome({ nbf: seconds + 60 })).toBeUndefined();
    expect(outcome({ nbf: seconds + 61 })).toBe('unauthenticated');
    expect(outcome({ iat: seconds + 60 })).toBeUndefined();
    expect(outcome({ iat: seconds + 61 })).toBe('unauthenticated');
    expect(outcome({ iat: undefined })).toBeUndefined();
    expect(outcome({ nbf: 'soon' })).toBe('invalid_argument');
    expect(outcome({ iat: 'now' })).toBe('invalid_argument');
  });

  test('[JWT-SVID §4] the signature must be the authority’s', () => {
    expect(codeOf(() => verifyJwtSvid(ca.signJwt({}, {}, createTestKey()), AUDIENCE, ca.bundles, nowMs))).toBe('unauthenticated');
    const [header = '', payload = '', signature = ''] = ca.signJwt().split('.');
    const flipped = `${header}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
    expect(codeOf(() => verifyJwtSvid(flipped, AUDIENCE, ca.bundles, nowMs))).toBe('unauthenticated');
  });

  test('[JWT-SVID §6.2] the key comes from the bundle of the subject’s own trust domain', () => {
    const foreign = TestCa.create({ trustDomain: 'foreign.example', nowMs });
    const bundles = bundleSource(ca.bundle(), foreign.bundle());
    const stolen = foreign.signJwt({ sub: 'spiffe://example.org/workload' });
    expect(codeOf(() => verifyJwtSvid(stolen, AUDIENCE, bundles, nowMs))).toBe('unauthenticated');
    expect(verifyJwtSvid(foreign.signJwt(), AUDIENCE, bundles, nowMs).id.trustDomain.name).toBe('foreign.example');
    expect(codeOf(() => verifyJwtSvid(foreign.signJwt(), AUDIENCE, ca.bundles, nowMs))).toBe('unauthenticated');
  });

  test('[JWT-SVID §6.2] only keys for JWT-SVIDs verify JWT-SVIDs', () => {
    const bundles = bundleSource(
      ca.bundle({ jwtAuthorities: [], witAuthorities: [new JwtAuthority(ca.jwtKeyId, ca.jwtKey.spki)] }),
    );
    expect(codeOf(() => verifyJwtSvid(ca.signJwt(), AUDIENCE, bundles, nowMs))).toBe('unauthenticated');
  });

  test('an authority that has ended verifies nothing', () => {
    const until = (expiresAtMs: number): string | undefined => {
      const bundles = bundleSource(
        ca.bundle({ jwtAuthorities: [new JwtAuthority(ca.jwtKeyId, ca.jwtKey.spki, { expiresAtMs })] }),
      );
      return codeOf(() => verifyJwtSvid(ca.signJwt(), AUDIENCE, bundles, nowMs));
    };
    expect(until(nowMs)).toBeUndefined();
    expect(until(nowMs - 61_000)).toBe('unauthenticated');
  });

  test('an authority with a key that is not accepted verifies nothing', () => {
    const weak = createTestKey('RSA-1024');
    const bundles = bundleSource(ca.bundle({ jwtAuthorities: [new JwtAuthority(ca.jwtKeyId, weak.spki)] }));
    expect(codeOf(() => verifyJwtSvid(ca.signJwt(), AUDIENCE, bundles, nowMs))).toBe('unauthenticated');
  });

  test('[WIT-SVID §7.1] a WIT-SVID is never accepted as JWT-SVID', () => {
    const bundles = bundleSource(ca.bundle({ jwtAuthorities: [new JwtAuthority(ca.witKeyId, ca.witKey.spki)] }));
    expect(codeOf(() => verifyJwtSvid(ca.signWit({ aud: AUDIENCE }), AUDIENCE, bundles, nowMs))).toBe('invalid_argument');
  });

  test('[SPIFFE-ID §3.2] no changed character is trusted', () => {
    const token = ca.signJwt();
    fc.assert(
      fc.property(
        fc.nat(token.length - 1),
        fc.constantFrom('A', 'Z', 'a', 'z', '0', '9', '-', '_', '.', '=', '+', ' '),
        (position, character) => {
          const bent = token.slice(0, position) + character + token.slice(position + 1);
          const expected = bent === token ? /^undefined$/ : /^(invalid_argument|unauthenticated)$/;
          expect(String(codeOf(() => verifyJwtSvid(bent, AUDIENCE, ca.bundles, nowMs)))).toMatch(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('is read without verification by the party that just received it', () => {
    const token = ca.signJwt({ exp: seconds - 10_000 }, {}, createTestKey());
    expect(parseJwtSvidInsecure(token)).toMatchObject({ expiresAtMs: nowMs - 10_000_000, keyId: ca.jwtKeyId });
    expect(codeOf(() => parseJwtSvidInsecure('x.y.z'))).toBe('invalid_argument');
  });
});
