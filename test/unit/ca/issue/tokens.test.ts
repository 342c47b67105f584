import { createHash, createPublicKey } from 'node:crypto';
import { jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KEY_ALGORITHMS } from '../../../../ca/keys/key-store.ts';
import { verifyJwtSvid } from '../../../../spiffe/jwt-svid.ts';
import { parseSpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { verifyWitSvid } from '../../../../spiffe/wit-svid.ts';
import { createTestKey } from '../../../support/test-keys.ts';
import { codeOf } from '../../../support/thrown-by.ts';
import { id, IssuingSide } from './issuer-fixture.ts';

let side: IssuingSide;
beforeAll(async () => {
  side = await IssuingSide.open({ jwtIssuer: 'https://id.example.org' });
});
afterAll(() => side[Symbol.asyncDispose]());

const caller = 'spiffe://example.org/spire/agent/x';
const parts = (token: string): readonly unknown[] =>
  token
    .split('.')
    .slice(0, 2)
    .map((part): unknown => JSON.parse(Buffer.from(part, 'base64url').toString()));
const audience = ['spiffe://example.org/db'];

describe('a JWT-SVID', () => {
  it('has the header and claims of SPIRE, and nothing else', async () => {
    const { token, issuedAtMs, expiresAtMs } = await side.issuer.issueJwtSvid({ spiffeId: id('/web'), audience, caller });
    const seconds = Date.UTC(2026, 0, 1) / 1000;
    expect(parts(token)).toEqual([
      { alg: 'ES256', kid: side.authorities.activeToken('jwt').id, typ: 'JWT' },
      { sub: 'spiffe://example.org/web', aud: audience, iat: seconds, exp: seconds + 300, iss: 'https://id.example.org' },
    ]);
    expect({ issuedAtMs, expiresAtMs }).toEqual({ issuedAtMs: seconds * 1000, expiresAtMs: (seconds + 300) * 1000 });
    expect(verifyJwtSvid(token, audience, side.bundles, side.nowMs).id.equals(id('/web'))).toBe(true);
  });

  it('has no issuer unless one is configured', async () => {
    await using other = await IssuingSide.open();
    const { token } = await other.issuer.issueJwtSvid({ spiffeId: id('/web'), audience, caller });
    expect(parts(token)[1]).not.toHaveProperty('iss');
  });

  it('has an ID of its own when asked for, which the audit record has too', async () => {
    const request = { spiffeId: id('/web'), audience, includeTokenId: true, caller, entryId: 'entry-3' };
    const [one, two] = [await side.issuer.issueJwtSvid(request), await side.issuer.issueJwtSvid(request)];
    const ids = [one, two].map(({ token }) => (parts(token)[1] as { jti: string }).jti); // Sound: the claims of a token of ours.
    expect(ids[0]).toMatch(/^[\w-]{22}$/);
    expect(ids[0]).not.toBe(ids[1]);
    expect(side.records.at(-1)).toEqual({
      time: new Date(side.nowMs).toISOString(),
      kind: 'jwt-svid',
      spiffeId: 'spiffe://example.org/web',
      caller,
      entryId: 'entry-3',
      serial: ids[1],
      digest: createHash('sha256')
        .update(two.token.slice(0, two.token.lastIndexOf('.')))
        .digest('base64url'),
      authorityId: side.authorities.activeToken('jwt').id,
      expiresAt: new Date(two.expiresAtMs).toISOString(),
    });
  });

  it.each([
    [undefined, 300],
    [0, 300],
    [-1, 300],
    [60, 60],
    [2 ** 31 - 1, 24 * 3600],
  ])('with a TTL of %s seconds lasts as long, but not longer than its authority', async (ttlSeconds, lifetime) => {
    const { expiresAtMs } = await side.issuer.issueJwtSvid({ spiffeId: id('/web'), audience, ttlSeconds, caller });
    expect(expiresAtMs).toBe(Date.UTC(2026, 0, 1) + lifetime * 1000);
  });

  it('drops empty audiences and needs one that is not', async () => {
    const { token } = await side.issuer.issueJwtSvid({ spiffeId: id('/web'), audience: ['', 'a', '', 'b'], caller });
    expect(parts(token)[1]).toMatchObject({ aud: ['a', 'b'] });
    for (const none of [[], [''], ['', '']]) {
      await expect(side.issuer.issueJwtSvid({ spiffeId: id('/web'), audience: none, caller })).rejects.toMatchObject({
        code: 'invalid_argument',
      });
    }
  });

  it('may have further claims, but none that is registered', async () => {
    const { token } = await side.issuer.issueJwtSvid({
      spiffeId: id('/web'),
      audience,
      caller,
      extraClaims: { team: 'payments', nested: { a: [1] } },
    });
    expect(parts(token)[1]).toMatchObject({ sub: 'spiffe://example.org/web', team: 'payments', nested: { a: [1] } });
    for (const name of ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'cnf', 'act']) {
      const request = { spiffeId: id('/web'), audience, caller, extraClaims: { [name]: 'mine' } };
      await expect(side.issuer.issueJwtSvid(request)).rejects.toMatchObject({ code: 'invalid_argument' });
    }
  });

  it.each(['/spire/agent/x', '/spire/server', '/spire', ''])('is refused for %j', async (path) => {
    await expect(side.issuer.issueJwtSvid({ spiffeId: id(path), audience, caller })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  it('is refused for a foreign trust domain, and when it would be too large', async () => {
    const spiffeId = parseSpiffeId('spiffe://other.org/web');
    await expect(side.issuer.issueJwtSvid({ spiffeId, audience, caller })).rejects.toMatchObject({ code: 'invalid_argument' });
    const large = { spiffeId: id('/web'), audience: ['x'.repeat(30_000)], caller };
    await expect(side.issuer.issueJwtSvid(large)).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

describe('a WIT-SVID', () => {
  const key = createTestKey();
  const request = { spiffeId: id('/web'), publicKeySpki: key.spki, signingAlgorithm: 'ES256', caller };

  it('has the header and claims of the standard, and no audience or issuer', async () => {
    const { token, expiresAtMs } = await side.issuer.issueWitSvid(request);
    const seconds = Date.UTC(2026, 0, 1) / 1000;
    expect(parts(token)).toEqual([
      { alg: 'ES256', kid: side.authorities.activeToken('wit').id, typ: 'wit+jwt' },
      {
        sub: 'spiffe://example.org/web',
        iat: seconds,
        exp: seconds + 3600,
        jti: expect.stringMatching(/^[\w-]{22}$/),
        cnf: { jwk: { ...key.publicKey.export({ format: 'jwk' }), alg: 'ES256' } },
      },
    ]);
    expect(expiresAtMs).toBe((seconds + 3600) * 1000);
    const verified = verifyWitSvid(token, side.bundles, side.nowMs);
    expect(verified.confirmationKey.equals(key.publicKey)).toBe(true);
    expect(side.records.at(-1)).toMatchObject({
      kind: 'wit-svid',
      digest: createHash('sha256').update(key.spki).digest('base64url'),
    });
  });

  it('is no JWT-SVID, nor the other way round', async () => {
    const wit = await side.issuer.issueWitSvid(request);
    expect(codeOf(() => verifyJwtSvid(wit.token, audience, side.bundles, side.nowMs))).toBeDefined();
    const jwt = await side.issuer.issueJwtSvid({ spiffeId: id('/web'), audience, caller });
    expect(codeOf(() => verifyWitSvid(jwt.token, side.bundles, side.nowMs))).toBeDefined();
  });

  it.each([
    ['P-256', 'ES256'],
    ['P-384', 'ES384'],
    ['P-521', 'ES512'],
    ['RSA-2048', 'RS256'],
    ['RSA-2048', 'PS512'],
  ] as const)('binds a %s key that signs with %s', async (kind, signingAlgorithm) => {
    const { token } = await side.issuer.issueWitSvid({ ...request, publicKeySpki: createTestKey(kind).spki, signingAlgorithm });
    expect(verifyWitSvid(token, side.bundles, side.nowMs).confirmationAlgorithm).toBe(signingAlgorithm);
  });

  it.each([
    ['P-256', 'ES384'],
    ['P-256', 'RS256'],
    ['P-256', 'HS256'],
    ['P-256', 'none'],
    ['P-256', ''],
    ['RSA-2048', 'ES256'],
    ['RSA-1024', 'RS256'],
    ['Ed25519', 'EdDSA'],
  ] as const)('is refused for a %s key that signs with %j', async (kind, signingAlgorithm) => {
    const refused = { ...request, publicKeySpki: createTestKey(kind).spki, signingAlgorithm };
    await expect(side.issuer.issueWitSvid(refused)).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('is refused for what is no key, and for a reserved ID', async () => {
    await expect(side.issuer.issueWitSvid({ ...request, publicKeySpki: Uint8Array.of(1) })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    await expect(side.issuer.issueWitSvid({ ...request, spiffeId: id('/spire/server') })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });
});

describe.each(KEY_ALGORITHMS)('signed with an %s key, a token', (tokenKeyType) => {
  it('is valid for jose', async () => {
    await using other = await IssuingSide.open({ tokenKeyType });
    const { token } = await other.issuer.issueJwtSvid({ spiffeId: id('/web'), audience, caller });
    const part = other.replica.bundle.list().find(({ kind }) => kind === 'jwt');
    const key = createPublicKey({ key: Buffer.from(part?.publicBytes ?? []), format: 'der', type: 'spki' });
    const { payload } = await jwtVerify(token, key, { audience, currentDate: new Date(other.nowMs) });
    expect(payload.sub).toBe('spiffe://example.org/web');
  });
});
