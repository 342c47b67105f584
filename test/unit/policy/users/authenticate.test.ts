import { describe, expect, test } from 'vitest';
import { IdentityError } from '../../../../core/errors.ts';
import { authenticateUser, type TokenRequirement, type UserOutcome } from '../../../../policy/users/authenticate.ts';
import { denialOf, refusalOf } from '../../../../policy/users/challenge.ts';
import { parseRequestAuthentication } from '../../../../policy/resources/request-authentication.ts';
import type { KeySource } from '../../../../policy/users/token-issuer.ts';
import { ISSUER, keysOf, TestIssuer } from '../../../support/user-tokens.ts';

const NOW_MS = Date.UTC(2026, 0, 1);
const issuer = new TestIssuer();
const sign = (claims: Record<string, unknown> = {}) =>
  issuer.sign({ iss: ISSUER, sub: 'alice', aud: 'orders', exp: NOW_MS / 1000 + 300, ...claims });
const token = sign();

type Headers = Readonly<Record<string, string | readonly string[]>>;

function requirement(changes: Partial<TokenRequirement> = {}): TokenRequirement {
  return { issuers: [issuer.accepted()], tokens: 'Optional', headers: ['authorization'], ...changes };
}

function authenticate(
  headers: Headers,
  requirements: readonly TokenRequirement[] = [requirement()],
  keys: KeySource = keysOf(issuer),
): Promise<UserOutcome> {
  const values = (name: string): readonly string[] => [headers[name] ?? []].flat();
  return authenticateUser({ headers: { values }, requirements, keys, nowMs: NOW_MS });
}

describe('the user of a request', () => {
  test('is the one of its token', async () => {
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
      const outcome = await authenticate({ authorization: `${scheme} ${token}` });
      expect(outcome).toMatchObject({ kind: 'user', user: { issuer: ISSUER, subject: 'alice' }, expiresAtMs: NOW_MS + 300_000 });
      expect(refusalOf(outcome)).toBeUndefined();
    }
  });

  test('may have the token in another header, as Bearer or alone', async () => {
    const requirements = [requirement({ headers: ['X-User-Token'] })];
    for (const value of [token, `Bearer ${token}`]) {
      expect(await authenticate({ 'x-user-token': value }, requirements)).toMatchObject({ kind: 'user' });
    }
    expect(await authenticate({ authorization: `Bearer ${token}` }, requirements)).toEqual({ kind: 'anonymous' });
  });

  test('may have the token alone in Authorization, where it must be valid too', async () => {
    expect(await authenticate({ authorization: ` ${token} ` })).toMatchObject({ kind: 'user', user: { subject: 'alice' } });
    const [header, payload] = token.split('.');
    for (const bad of [sign({ exp: 1 }), `${header}.${payload}.`, `${header}....`]) {
      expect(await authenticate({ authorization: bad })).toMatchObject({ kind: 'refused', error: 'invalid_token' });
    }
  });

  test.each(['a\tb', `Bearer\t${token}`, `Bearer:${token}`, `Basic ${token}`, `${token}, ${token}`])(
    '[RFC 6750 §3.1] with another header that cannot be read is refused: %.20s',
    async (value) => {
      const outcome = await authenticate({ 'x-user-token': value }, [requirement({ headers: ['X-User-Token'] })]);
      expect(outcome).toMatchObject({ kind: 'refused', error: 'invalid_request' });
    },
  );

  test.each([
    '',
    'Basic dXNlcjpwYXNz',
    'Digest username="a", realm="b", nonce="c.d.e", uri="/"',
    `DPoP ${token}`,
    'Negotiate',
    `Token ${token}`,
    'opaque',
  ])('is nobody without a token, where none is required; whatever else the header holds: %.20s', async (authorization) => {
    for (const headers of [{}, { authorization }]) {
      const outcome = await authenticate(headers);
      expect([outcome, refusalOf(outcome)]).toEqual([{ kind: 'anonymous' }, undefined]);
    }
  });

  test('[RFC 6750 §3] must bring a token where one is required: 401 without an error code', async () => {
    const outcome = await authenticate({}, [requirement(), requirement({ tokens: 'Required' })]);
    expect(refusalOf(outcome)).toEqual({ status: 401, challenge: 'Bearer' });
  });

  test('[RFC 6750 §3.1] with a bad token is refused, also where none is required: 401 invalid_token', async () => {
    const refusal = refusalOf(await authenticate({ authorization: `Bearer ${sign({ exp: 1 })}` }));
    expect(refusal).toEqual({
      status: 401,
      challenge: 'Bearer error="invalid_token", error_description="the token has expired"',
    });
  });

  test.each([
    ['two headers', { authorization: [`Bearer ${token}`, `Bearer ${token}`] }],
    ['two in one header', { authorization: `Bearer ${token}, Bearer ${token}` }],
    ['no token behind the scheme', { authorization: 'Bearer' }],
    ['a token with a blank', { authorization: 'Bearer a b' }],
    ['a token in quotes', { authorization: 'Bearer "a"' }],
    ['a tab behind the scheme', { authorization: `Bearer\t${token}` }],
    ['a blank and a tab behind it', { authorization: `bearer \t${token}` }],
    ['a colon behind it', { authorization: `Bearer:${token}` }],
    ['an equals sign behind it', { authorization: `BEARER=${token}` }],
    ['a comma behind it', { authorization: `Bearer, ${token}` }],
    ['nothing between the scheme and the token', { authorization: `Bearer${token}` }],
    ['something behind the token', { authorization: `Bearer ${token}; a=b` }],
    ['a token behind another scheme', { authorization: `Basic dXNlcjpwYXNz,Bearer ${token}` }],
    ['one alone behind another scheme', { authorization: `Basic dXNlcjpwYXNz, ${token}` }],
    ['two alone', { authorization: `${token},${token}` }],
  ])('[RFC 6750 §3.1] with %s is refused: 400 invalid_request', async (_what, headers) => {
    const refusal = refusalOf(await authenticate(headers));
    expect(refusal).toMatchObject({ status: 400, challenge: expect.stringMatching(/^Bearer error="invalid_request", /) });
  });

  test('with tokens in two headers is refused, even if one is good', async () => {
    const requirements = [requirement(), requirement({ headers: ['x-user-token'] })];
    expect(await authenticate({ authorization: `Bearer ${token}`, 'x-user-token': 'x' }, requirements)).toMatchObject({
      error: 'invalid_request',
    });
  });

  test('may come from any issuer of any RequestAuthentication that concerns the workload', async () => {
    const other = new TestIssuer({ name: 'https://other.example.org' });
    const requirements = [requirement({ issuers: [other.accepted()] }), requirement()];
    expect(await authenticate({ authorization: `Bearer ${token}` }, requirements, keysOf(other, issuer))).toMatchObject({
      kind: 'user',
    });
    expect(await authenticate({ authorization: `Bearer ${token}` }, requirements.slice(0, 1))).toMatchObject({ kind: 'refused' });
  });

  test('is not let through when the issuer’s keys are not to be had: 503', async () => {
    const down = (options = {}): KeySource => ({
      keysOf: () => Promise.reject(new IdentityError('unavailable', 'down', options)),
    });
    const headers = { authorization: `Bearer ${token}` };
    expect(refusalOf(await authenticate(headers, undefined, down({ retryAfterMs: 1500 })))).toEqual({
      status: 503,
      retryAfterSeconds: 2,
    });
    expect(refusalOf(await authenticate(headers, undefined, down()))).toEqual({ status: 503 });
  });

  test('is nobody’s business where no RequestAuthentication concerns the workload', async () => {
    expect(await authenticate({ authorization: 'Bearer x' }, [])).toEqual({ kind: 'anonymous' });
  });
});

test('[RFC 6750 §3.1] a user who may not gets 403, with the missing scopes', () => {
  expect(denialOf()).toEqual({ status: 403 });
  expect(denialOf(['read', 'write'])).toEqual({
    status: 403,
    challenge: 'Bearer error="insufficient_scope", scope="read write"',
  });
});

test('[RFC 6750 §3] nothing breaks out of a quoted text', () => {
  const refusal = refusalOf({ kind: 'refused', error: 'invalid_token', description: 'a"b\\c\r\nd\u00fc' });
  expect(refusal?.challenge).toBe("Bearer error=\"invalid_token\", error_description=\"a'b'c''d'\"");
});

test('a RequestAuthentication is a requirement as it was parsed', async () => {
  const resource = parseRequestAuthentication({
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'RequestAuthentication',
    metadata: { name: 'people', namespace: 'shop' },
    spec: { issuers: [{ issuer: ISSUER, audiences: ['orders'] }], tokens: 'Required' },
  });
  expect(await authenticate({ authorization: `Bearer ${token}` }, [resource])).toMatchObject({ kind: 'user' });
  expect(await authenticate({}, [resource])).toEqual({ kind: 'missing' });
});
