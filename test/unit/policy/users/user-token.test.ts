import { generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { IdentityError } from '../../../../core/errors.ts';
import { parseKeySet } from '../../../../policy/users/key-set.ts';
import type { TokenIssuer } from '../../../../policy/users/token-issuer.ts';
import { verifyUserToken, type VerifiedUserToken } from '../../../../policy/users/user-token.ts';
import { createTestKey, type TestKeyKind } from '../../../support/test-keys.ts';
import { ISSUER, keysOf, TestIssuer } from '../../../support/user-tokens.ts';

const NOW_MS = Date.UTC(2026, 0, 1);
const NOW = NOW_MS / 1000;
const OWN = 'https://token.example.org';
const issuer = new TestIssuer();
const base = { iss: ISSUER, sub: 'alice', aud: 'orders', exp: NOW + 300, iat: NOW };

interface Verification {
  readonly from?: TestIssuer;
  readonly issuers?: readonly TokenIssuer[];
  readonly accepted?: Partial<TokenIssuer>;
}

function verify(
  token: string,
  { from = issuer, accepted, issuers = [from.accepted(accepted)] }: Verification = {},
): Promise<VerifiedUserToken> {
  return verifyUserToken(token, { issuers, keys: keysOf(from), nowMs: NOW_MS, ownIssuer: OWN });
}

const without = (claim: string): Record<string, unknown> =>
  Object.fromEntries(Object.entries(base).filter(([name]) => name !== claim));
const act = (depth: number): unknown => (depth === 0 ? undefined : { sub: `service-${depth}`, act: act(depth - 1) });

describe('a token of a user', () => {
  test.each<[TestKeyKind, string]>([
    ['RSA-2048', 'RS256'],
    ['RSA-2048', 'RS384'],
    ['RSA-2048', 'RS512'],
    ['RSA-2048', 'PS256'],
    ['RSA-2048', 'PS384'],
    ['RSA-2048', 'PS512'],
    ['P-256', 'ES256'],
    ['P-384', 'ES384'],
    ['P-521', 'ES512'],
    ['Ed25519', 'EdDSA'],
  ])('is accepted from a %s key with %s', async (kind, alg) => {
    const from = new TestIssuer({ key: createTestKey(kind) });
    const { user, expiresAtMs, audiences } = await verify(from.sign(base, { alg }), { from });
    expect([user.issuer, user.subject, user.actors]).toEqual([ISSUER, 'alice', []]);
    expect([expiresAtMs, audiences]).toEqual([NOW_MS + 300_000, ['orders']]);
  });

  test.each([undefined, 'JWT', 'jwt', 'at+jwt', 'application/at+jwt'])('may be of type %s', async (typ) => {
    await expect(verify(issuer.sign(base, { typ }))).resolves.toMatchObject({ user: { subject: 'alice' } });
  });

  test.each([
    ['algorithm none', () => issuer.sign(base, { alg: 'none' })],
    ['algorithm None', () => issuer.sign(base, { alg: 'none' }).replace(/^[^.]+/, encode({ alg: 'None', kid: 'key-1' }))],
    ['HS256 with the public key as secret', () => issuer.sign(base, { alg: 'HS256' })],
    ['HS256 said of an ES256 signature', () => issuer.sign(base).replace(/^[^.]+/, encode({ alg: 'HS256', kid: 'key-1' }))],
    ['another algorithm than the key’s', () => issuer.sign(base, { alg: 'RS256' }, createTestKey('RSA-2048'))],
    ['a key of another issuer with the same key ID', () => new TestIssuer().sign(base)],
    ['a key that the issuer does not have', () => issuer.sign(base, { kid: 'key-2' })],
    ['another issuer', () => issuer.sign({ ...base, iss: 'https://evil.example.org' })],
    ['the issuer with a slash behind it', () => issuer.sign({ ...base, iss: `${ISSUER}/` })],
    ['the issuer in capitals', () => issuer.sign({ ...base, iss: ISSUER.toUpperCase() })],
    ['no issuer', () => issuer.sign(without('iss'))],
    ['issuers as a list', () => issuer.sign({ ...base, iss: [ISSUER] })],
    ['another audience', () => issuer.sign({ ...base, aud: 'billing' })],
    ['no audience', () => issuer.sign(without('aud'))],
    ['an empty list of audiences', () => issuer.sign({ ...base, aud: [] })],
    ['an audience that is no text', () => issuer.sign({ ...base, aud: ['orders', 7] })],
    ['an expiry that is over', () => issuer.sign({ ...base, exp: NOW - 61 })],
    ['no expiry', () => issuer.sign(without('exp'))],
    ['an expiry as text', () => issuer.sign({ ...base, exp: String(NOW + 300) })],
    [
      'an expiry beyond all numbers',
      () => issuer.sign(base).replace(/\.[^.]+\./, `.${encodeText(JSON.stringify(base).replace(/"exp":\d+/, '"exp":1e999'))}.`),
    ],
    ['a start that is to come', () => issuer.sign({ ...base, nbf: NOW + 61 })],
    ['a time of issue that is to come', () => issuer.sign({ ...base, iat: NOW + 61 })],
    ['no subject', () => issuer.sign(without('sub'))],
    ['an empty subject', () => issuer.sign({ ...base, sub: '' })],
    ['a subject that is no text', () => issuer.sign({ ...base, sub: 7 })],
    ['a subject with a line feed', () => issuer.sign({ ...base, sub: 'alice\nadmin' })],
    ['a subject of 256 characters', () => issuer.sign({ ...base, sub: 'a'.repeat(256) })],
    ['a SPIFFE ID as subject', () => issuer.sign({ ...base, sub: 'spiffe://example.org/orders' })],
    ['a SPIFFE ID as subject, in capitals', () => issuer.sign({ ...base, sub: 'SPIFFE://example.org/orders' })],
    ['a SPIFFE ID as caller', () => issuer.sign({ ...base, act: { sub: 'spiffe://example.org/orders' } })],
    ['a chain of six callers', () => issuer.sign({ ...base, act: act(6) })],
    ['a chain of callers that is none', () => issuer.sign({ ...base, act: 'orders' })],
    ['a caller without a name', () => issuer.sign({ ...base, act: { iss: ISSUER } })],
    ['a proof-of-possession key', () => issuer.sign({ ...base, cnf: { jkt: 'x' } })],
    ['type logout+jwt', () => issuer.sign(base, { typ: 'logout+jwt' })],
    ['type dpop+jwt', () => issuer.sign(base, { typ: 'dpop+jwt' })],
    ['type wit+jwt', () => issuer.sign(base, { typ: 'wit+jwt' })],
    ['a critical header', () => issuer.sign(base, { crit: ['exp'] })],
    ['more than 16 KiB', () => issuer.sign({ ...base, note: 'x'.repeat(16_384) })],
    ['four parts', () => `${issuer.sign(base)}.x`],
    ['five parts, encrypted', () => 'a.b.c.d.e'],
    ['nothing in it', () => ''],
    ['padding', () => `${issuer.sign(base)}=`],
    ['a changed payload', () => issuer.sign(base).replace(/\.[^.]+\./, `.${encode({ ...base, sub: 'bob' })}.`)],
    [
      'a claim twice',
      () => resign('{"iss":"https://login.example.org","sub":"alice","sub":"bob","aud":"orders","exp":9999999999}'),
    ],
    [
      'an escaped claim twice',
      () => resign('{"iss":"https://login.example.org","sub":"a","s\\u0075b":"b","aud":"orders","exp":9999999999}'),
    ],
    ['a payload that is a list', () => resign('[]')],
  ])('is refused with %s', async (_what, token) => {
    const error: unknown = await verify(token()).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(IdentityError);
    // Never part of what somebody sent.
    expect(error).toMatchObject({ code: 'unauthenticated', message: expect.not.stringMatching(/alice|eyJ|evil|billing/) });
  });

  test('may be up to a minute off, as clocks are', async () => {
    for (const claims of [{ exp: NOW - 60 }, { nbf: NOW + 60 }, { iat: NOW + 60 }]) {
      await expect(verify(issuer.sign({ ...base, ...claims }))).resolves.toBeDefined();
    }
  });

  test('keeps its chain of callers, outermost first', async () => {
    const { user } = await verify(issuer.sign({ ...base, act: act(5) }));
    expect(user.actors.map(({ subject }) => subject)).toEqual(['service-5', 'service-4', 'service-3', 'service-2', 'service-1']);
  });

  test('is judged by the issuer that it names, when there are several', async () => {
    const other = new TestIssuer({ name: 'https://other.example.org' });
    const issuers = [issuer.accepted(), other.accepted({ audiences: ['billing'] })];
    const judge = (token: string) => verifyUserToken(token, { issuers, keys: keysOf(issuer, other), nowMs: NOW_MS });
    const claims = { ...base, iss: other.name, aud: ['billing', 'x'] };
    expect((await judge(other.sign(claims))).user.issuer).toBe(other.name);
    await expect(judge(issuer.sign(claims))).rejects.toMatchObject({ code: 'unauthenticated' });
    await expect(judge(other.sign({ ...claims, aud: 'orders' }))).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test('without a key ID is verified where the issuer has one key that fits, and refused where it could be any', async () => {
    const token = issuer.sign(base, { kid: undefined });
    await expect(verify(token)).resolves.toBeDefined();
    const second = new TestIssuer({ keyId: 'key-2' });
    const keys = { keysOf: () => Promise.resolve([...issuer.keys, ...second.keys]) };
    await expect(verifyUserToken(token, { issuers: [issuer.accepted()], keys, nowMs: NOW_MS })).rejects.toMatchObject({
      code: 'unauthenticated',
    });
  });

  test('is not used with a key that is for another algorithm', async () => {
    const from = new TestIssuer({ key: createTestKey('RSA-2048') });
    const keys = { keysOf: () => Promise.resolve(parseKeySet(JSON.stringify({ keys: [{ ...from.jwk, alg: 'PS256' }] }))) };
    const judge = (alg: string) => verifyUserToken(from.sign(base, { alg }), { issuers: [from.accepted()], keys, nowMs: NOW_MS });
    await expect(judge('PS256')).resolves.toBeDefined();
    await expect(judge('RS256')).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test('tells apart that its issuer’s keys are not to be had', async () => {
    const keys = { keysOf: () => Promise.reject(new IdentityError('unavailable', 'no answer', { retryAfterMs: 5000 })) };
    await expect(verifyUserToken(issuer.sign(base), { issuers: [issuer.accepted()], keys, nowMs: NOW_MS })).rejects.toMatchObject(
      { code: 'unavailable' },
    );
  });
});

describe('claims that policies ask for', () => {
  test('come from where the configuration says', async () => {
    const claims = { realm_access: { roles: ['buyer'] }, 'https://example.org/teams': 'red', roles: ['admin'] };
    const accepted = { claims: { roles: 'realm_access.roles', team: 'https://example.org/teams' } };
    const { user } = await verify(issuer.sign({ ...base, ...claims }), { accepted });
    expect([user.claims['roles'], user.claims['team']]).toEqual([['buyer'], 'red']);
  });

  test('never from a claim of the same name elsewhere', async () => {
    for (const place of ['realm_access.roles', 'missing', '__proto__.roles', 'constructor.name']) {
      const { user } = await verify(issuer.sign({ ...base, roles: ['admin'] }), { accepted: { claims: { roles: place } } });
      expect(user.claims['roles']).toBeUndefined();
    }
  });

  test('make a list of a single role', async () => {
    const { user } = await verify(issuer.sign({ ...base, role: 'buyer' }), { accepted: { claims: { roles: 'role' } } });
    expect(user.claims['roles']).toEqual(['buyer']);
  });

  test('are never registered ones', async () => {
    await expect(verify(issuer.sign(base), { accepted: { claims: { sub: 'email' } } })).rejects.toMatchObject({
      code: 'failed_precondition',
    });
  });
});

describe('tokens of the own token exchange', () => {
  const own = new TestIssuer({ name: OWN });
  const claims = { ...base, iss: OWN, subject_issuer: ISSUER, act: { sub: 'spiffe://example.org/web' } };

  test('may name SPIFFE IDs and say where the user comes from', async () => {
    const { user, tokenIssuer } = await verify(own.sign(claims, { typ: 'at+jwt' }), { from: own });
    expect([user.issuer, tokenIssuer, user.actors]).toEqual([ISSUER, OWN, [{ subject: 'spiffe://example.org/web' }]]);
    const machine = await verify(own.sign({ ...base, iss: OWN, sub: 'spiffe://example.org/web' }, { typ: 'at+jwt' }), {
      from: own,
    });
    expect([machine.user.issuer, machine.user.subject]).toEqual([OWN, 'spiffe://example.org/web']);
  });

  test('are of type at+jwt', async () => {
    await expect(verify(own.sign(claims), { from: own })).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test('other issuers’ word about where a user comes from counts for nothing', async () => {
    const { user } = await verify(issuer.sign({ ...base, subject_issuer: 'https://evil.example.org' }));
    expect(user.issuer).toBe(ISSUER);
  });
});

describe('a JWK set', () => {
  const read = (...keys: readonly unknown[]) => parseKeySet(JSON.stringify({ keys })).map(({ keyId }) => keyId);
  const good = issuer.jwk;

  test('keeps keys for signatures and passes over the rest', () => {
    const weak = { ...generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' }), kid: 'weak' };
    const edwards = new TestIssuer({ key: createTestKey('Ed25519'), keyId: 'ed' }).jwk;
    const others = [
      { kty: 'oct', k: 'c2VjcmV0', kid: 'secret' },
      { ...good, kid: 'encryption', use: 'enc' },
      { ...good, kid: 'signing only', key_ops: ['sign'] },
      { ...good, kid: 'private', d: 'AA' },
      { ...good, kid: 7 },
      { ...good, kid: 'off the curve', x: good['y'] },
      { ...edwards, kid: 'private ed', d: 'AA' },
      { ...edwards, kid: 'Ed448', crv: 'Ed448' },
      weak,
      'text',
      null,
    ];
    expect(read(...others, good, edwards, { ...good, kid: undefined })).toEqual(['key-1', 'ed', undefined]);
  });

  test.each([
    '',
    'null',
    '[]',
    '{}',
    '{"keys":{}}',
    '{"keys":[],"keys":[]}',
    '<html>',
    JSON.stringify({ keys: Array.from({ length: 101 }, () => good) }),
  ])('is not %.20s', (text) => {
    expect(() => parseKeySet(text)).toThrow(IdentityError);
  });
});

function encodeText(text: string): string {
  return Buffer.from(text).toString('base64url');
}

function encode(value: unknown): string {
  return encodeText(JSON.stringify(value));
}

/** A properly signed token with a payload that no encoder would write. */
function resign(payload: string): string {
  const raw = Buffer.from(payload).toString('base64url');
  const header = encode({ alg: 'ES256', kid: 'key-1', typ: 'JWT' });
  return `${header}.${raw}.${signText(`${header}.${raw}`)}`;
}

function signText(text: string): string {
  return sign('sha256', Buffer.from(text), { key: issuer.key.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url');
}
