import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { IdentityError } from '../../../../core/errors.ts';
import { parseRequestAuthentication } from '../../../../policy/resources/request-authentication.ts';
import { AuthorizationRig } from '../../../support/authorization-rig.ts';
import { DESTINATIONS } from '../../../support/policy/cast.ts';
import { orders } from '../../../support/policy/policy-objects.ts';
import { UnixHttp, type UnixAnswer } from '../../../support/unix-http.ts';
import { ISSUER, keysOf, TestIssuer } from '../../../support/user-tokens.ts';

const CALL = 'a1'.repeat(16);
const AWAY = 'https://away.example.org';
const issuer = new TestIssuer();
const known = keysOf(issuer);
const people = parseRequestAuthentication({
  apiVersion: 'countersign.dev/v1alpha1',
  kind: 'RequestAuthentication',
  metadata: { name: 'people', namespace: 'shop' },
  spec: { tokens: 'Optional', issuers: [ISSUER, AWAY].map((name) => ({ issuer: name, audiences: ['orders'] })) },
});

let agent: AuthorizationRig;

beforeEach(async () => {
  const keys = {
    keysOf: async (named: { readonly issuer: string }, keyId: string | undefined) => {
      if (named.issuer === AWAY) throw new IdentityError('unavailable', 'no answer', { retryAfterMs: 1500 });
      return known.keysOf(named, keyId);
    },
  };
  agent = await AuthorizationRig.start({ keys });
});
afterEach(() => agent[Symbol.asyncDispose]());

const denyAll = orders('nobody', { action: 'DENY', rules: [{}] });
const enforce = (): Promise<void> => agent.enforce(DESTINATIONS.orders, { policies: [denyAll], authentications: [people] });

function tokenOf(claims: Readonly<Record<string, unknown>> = {}): string {
  const seconds = Math.floor(Date.now() / 1000);
  return issuer.sign({ iss: ISSUER, sub: 'alice', aud: 'orders', iat: seconds, exp: seconds + 300, ...claims });
}

async function ask(authorization?: string, path = '/authenticate'): Promise<UnixAnswer | undefined> {
  using connection = await UnixHttp.open(agent.socket);
  const said = { Request: 'GET /7 HTTP/1.1', Host: 'orders', Port: '1', Address: 'unix:', Verify: '', Certificate: '' };
  const lines = Object.entries(said).map(([name, value]) => `X-Countersign-${name}: ${CALL} ${value}\r\n`);
  if (authorization !== undefined) lines.push(`Authorization: ${authorization}\r\n`);
  return await connection.ask(`GET ${path}?call=${CALL} HTTP/1.1\r\nHost: a\r\n${lines.join('')}\r\n`);
}

const reasonOf = (answer: UnixAnswer | undefined) => [answer?.status, answer?.headers.get('x-countersign-reason')];

describe('/authenticate', () => {
  test('says who the user is, whatever policies say', async () => {
    await enforce();
    const answer = await ask(`Bearer ${tokenOf({ sub: 'Zo\u00eb %' })}`);
    expect(reasonOf(answer)).toEqual([200, 'user_authenticated']);
    expect(answer?.headers.get('x-countersign-user')).toBe('Zo%C3%AB%20%25');
    expect(answer?.headers.get('x-countersign-user-issuer')).toBe(ISSUER);
    expect(reasonOf(await ask(`Bearer ${tokenOf()}`, '/authorize'))).toEqual([403, 'denied_by_rule']);
  });

  test('401 without a user, also where a token is optional, and where nobody is accepted', async () => {
    await enforce();
    const missing = await ask();
    expect(reasonOf(missing)).toEqual([401, 'user_missing']);
    expect(missing?.headers.get('www-authenticate')).toBe('Bearer');
    expect(reasonOf(await ask('Basic YTpi'))).toEqual([401, 'user_missing']);
    await agent.enforce(DESTINATIONS.orders, { policies: [] });
    expect(reasonOf(await ask(`Bearer ${tokenOf()}`))).toEqual([401, 'user_missing']);
  });

  test('401 for a bad token, with the reason', async () => {
    await enforce();
    for (const [token, error] of [
      [tokenOf({ aud: 'other' }), 'invalid_token'],
      ['a b', 'invalid_request'],
    ] as const) {
      const answer = await ask(`Bearer ${token}`);
      expect(reasonOf(answer)).toEqual([401, 'user_refused']);
      expect(answer?.headers.get('www-authenticate')).toContain(`error="${error}"`);
    }
  });

  test('503 where keys are not to be had', async () => {
    await enforce();
    const answer = await ask(`Bearer ${tokenOf({ iss: AWAY })}`);
    expect(reasonOf(answer)).toEqual([503, 'user_unavailable']);
    expect(answer?.headers.get('retry-after')).toBe('2');
  });

  test('tells of each answer, and that no more than the user was asked for', async () => {
    await agent.enforce(DESTINATIONS.orders, { policies: [] });
    await ask();
    await enforce();
    await ask();
    await ask(`Bearer ${tokenOf({ aud: 'other' })}`);
    await ask(`Bearer ${tokenOf({ iss: AWAY })}`);
    await ask(`Bearer ${tokenOf()}`);
    const reasons = ['user_missing', 'user_missing', 'user_refused', 'user_unavailable', 'user_authenticated'];
    expect(agent.decided.map(({ outcome }) => outcome.reason)).toEqual(reasons);
    expect(agent.decided.every(({ isAuthentication }) => isAuthentication)).toBe(true);
    expect(agent.decided.at(-1)).toMatchObject({ call: { request: { path: '/7' } }, outcome: { user: { subject: 'alice' } } });
    await ask(`Bearer ${tokenOf()}`, '/authorize');
    expect(agent.decided.at(-1)?.isAuthentication).toBeUndefined();
  });

  test.each(['/authenticate', '/authorize'])('%s is closed without policy, and with one that is too old', async (path) => {
    const token = `Bearer ${tokenOf()}`;
    expect(reasonOf(await ask(token, path))).toEqual([403, 'policy_missing']);
    await enforce();
    agent.staleness.value = true;
    expect(reasonOf(await ask(token, path))).toEqual([403, 'policy_stale']);
  });
});
