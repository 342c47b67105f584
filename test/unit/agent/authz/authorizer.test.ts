// What enforcement points are told of a call: users, relations, and what goes wrong.
import { describe, expect, test } from 'vitest';
import type { Outcome } from '../../../../agent/authz/check.ts';
import { IdentityError } from '../../../../core/errors.ts';
import type { IssuerKey, KeySource } from '../../../../policy/users/token-issuer.ts';
import { AuthorizerRig, agentEntry, CALLER, ORDERS } from '../../../support/authorizer-rig.ts';
import { authz } from '../../../support/policy/policy-objects.ts';
import { ISSUER, keysOf, TestIssuer } from '../../../support/user-tokens.ts';

const EXCHANGE = 'https://token.example.org';
const issuer = new TestIssuer();
const exchange = new TestIssuer({ name: EXCHANGE });
const keys = keysOf(issuer, exchange);

interface People {
  readonly tokens?: 'Required' | 'Optional';
  readonly claims?: Readonly<Record<string, string>>;
  readonly headers?: readonly string[];
  readonly issuer?: string;
  readonly jwksUri?: string | undefined;
}

function people({ issuer: name = ISSUER, jwksUri, claims = {}, ...spec }: People = {}): object {
  return {
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'RequestAuthentication',
    metadata: { name: 'people', namespace: 'shop' },
    spec: {
      selector: { matchLabels: { app: 'orders' } },
      issuers: [{ issuer: name, audiences: ['orders'], claims, ...(jwksUri === undefined ? {} : { jwksUri }) }],
      ...spec,
    },
  };
}

function claimsAt(nowMs: number, more: Record<string, unknown> = {}): Record<string, unknown> {
  const seconds = Math.floor(nowMs / 1000);
  return { iss: ISSUER, sub: 'alice', aud: 'orders', iat: seconds, exp: seconds + 300, ...more };
}

/** A rig with these resources, and a token of `alice` with further claims. */
async function rigWith(resources: readonly object[], more: Record<string, unknown> = {}) {
  const rig = new AuthorizerRig({ keys });
  await rig.enforce(resources);
  const token = issuer.sign(claimsAt(rig.clock.nowMs(), more));
  return { rig, bearer: { authorization: `Bearer ${token}` } };
}

function summary({ verdict, status, reason }: Outcome): string {
  return `${verdict} ${status} ${reason}`;
}

const forUsers = (users: object) => authz('users', { rules: [{ from: [{ users: [users] }] }] });

describe('users', () => {
  test('roles come from where the RequestAuthentication says, and from nowhere else', async () => {
    const claims = { roles: 'realm_access.roles' };
    const policies = [people({ claims }), forUsers({ roles: ['clerk'] })];
    const known = await rigWith(policies, { realm_access: { roles: ['clerk'] } });
    expect(summary(await known.rig.ask({ headers: known.bearer }))).toBe('allow 200 allowed_by_rule');
    const self = await rigWith(policies, { roles: ['clerk'] });
    expect(summary(await self.rig.ask({ headers: self.bearer }))).toBe('deny 403 no_rule_matches');
    const unmapped = await rigWith([people(), forUsers({ roles: ['clerk'] })], { roles: ['clerk'] });
    expect(summary(await unmapped.rig.ask({ headers: unmapped.bearer }))).toBe('allow 200 allowed_by_rule');
  });

  test('who the user is, is told', async () => {
    const { rig, bearer } = await rigWith([people(), forUsers({ subjects: ['alice'] })]);
    const { user, destinationId } = await rig.ask({ headers: bearer });
    expect(user).toMatchObject({ issuer: ISSUER, subject: 'alice', actors: [] });
    expect(destinationId?.toString()).toBe(ORDERS.toString());
    expect(rig.decided.at(-1)?.call?.user?.subject).toBe('alice');
  });

  test('a missing, a bad and a doubled token have their own answers', async () => {
    const { rig, bearer } = await rigWith([people({ tokens: 'Required', headers: ['authorization', 'x-token'] })]);
    const missing = await rig.ask();
    expect(summary(missing)).toBe('deny 401 user_missing');
    expect(missing.headers.get('www-authenticate')).toBe('Bearer');
    const bad = await rig.ask({ headers: { authorization: 'Bearer a.b.c' } });
    expect(summary(bad)).toBe('deny 401 user_refused');
    expect(bad.headers.get('www-authenticate')).toContain('error="invalid_token"');
    const twice = await rig.ask({ headers: { ...bearer, 'x-token': 'a.b.c' } });
    expect(summary(twice)).toBe('deny 400 user_refused');
    expect(twice.headers.get('www-authenticate')).toContain('error="invalid_request"');
  });

  test('a header with a token that came twice is no token', async () => {
    const { rig, bearer } = await rigWith([people({ headers: ['x-token'] })]);
    const value = bearer.authorization.slice('Bearer '.length);
    const request = {
      method: 'GET',
      target: '/',
      headers: [
        ['x-token', value],
        ['x-token', value],
      ] as const,
    };
    expect(summary(await rig.ask({ request }))).toBe('deny 400 user_refused');
  });

  test('keys that are not to be had: nobody is let through, and told when to come again', async () => {
    const away: KeySource = {
      keysOf: () => Promise.reject(new IdentityError('unavailable', 'no keys', { retryAfterMs: 2_500 })),
    };
    const rig = new AuthorizerRig({ keys: away });
    await rig.enforce([people(), authz('all', { rules: [{}] })]);
    const token = issuer.sign(claimsAt(rig.clock.nowMs()));
    const outcome = await rig.ask({ headers: { authorization: `Bearer ${token}` } });
    expect(summary(outcome)).toBe('deny 503 user_unavailable');
    expect(outcome.headers.get('retry-after')).toBe('3');
  });

  test('scopes that are all that is missing are named', async () => {
    const write = forUsers({ scopes: ['orders:read', 'orders:write'] });
    const { rig, bearer } = await rigWith([people(), write], { scope: 'orders:read' });
    const outcome = await rig.ask({ headers: bearer });
    expect(summary(outcome)).toBe('deny 403 no_rule_matches');
    expect(outcome.headers.get('www-authenticate')).toBe('Bearer error="insufficient_scope", scope="orders:write"');
    await rig.enforce([people(), forUsers({ scopes: ['orders:write'], subjects: ['bob'] })]);
    expect((await rig.ask({ headers: bearer })).headers.size).toBe(0);
    await rig.enforce([people(), write, authz('no', { action: 'DENY', rules: [{}] })]);
    expect((await rig.ask({ headers: bearer })).headers.size).toBe(0);
  });

  test('a token of our own exchange says through whom the user came; one of another issuer may not', async () => {
    const act = { sub: 'spiffe://example.org/front', act: { sub: 'spiffe://example.org/edge' } };
    const rig = new AuthorizerRig({ keys });
    const sign = (by: TestIssuer) =>
      by.sign(claimsAt(rig.clock.nowMs(), { iss: by.name, act, subject_issuer: ISSUER }), { typ: 'at+jwt' });
    const through = { rules: [{ when: 'user.actors[0] == "spiffe://example.org/front"' }] };
    await rig.enforce([people({ issuer: EXCHANGE }), authz('through', through)], { exchangeIssuer: EXCHANGE });
    const outcome = await rig.ask({ headers: { authorization: `Bearer ${sign(exchange)}` } });
    expect(summary(outcome)).toBe('allow 200 allowed_by_rule');
    expect(outcome.user?.actors.map(({ subject }) => subject)).toEqual([act.sub, act.act.sub]);
    expect(outcome.user?.issuer).toBe(ISSUER);
    // The name of the exchange comes from the CA: without it, nobody may name SPIFFE IDs.
    await rig.enforce([people({ issuer: EXCHANGE }), authz('through', through)]);
    expect(summary(await rig.ask({ headers: { authorization: `Bearer ${sign(exchange)}` } }))).toBe('deny 401 user_refused');
    await rig.enforce([people(), authz('through', through)], { exchangeIssuer: EXCHANGE });
    expect(summary(await rig.ask({ headers: { authorization: `Bearer ${sign(issuer)}` } }))).toBe('deny 401 user_refused');
  });

  test('the CA says where the exchange has its keys, unless the RequestAuthentication does', async () => {
    const asked: (string | undefined)[] = [];
    const noting: KeySource = { keysOf: (named, id) => (asked.push(named.jwksUri), keys.keysOf(named, id)) };
    const rig = new AuthorizerRig({ keys: noting });
    const jwks = { exchangeIssuer: EXCHANGE, exchangeJwksUri: `${EXCHANGE}/keys` };
    await rig.enforce([people({ issuer: EXCHANGE })], jwks);
    const token = exchange.sign(claimsAt(rig.clock.nowMs(), { iss: EXCHANGE }), { typ: 'at+jwt' });
    await rig.ask({ headers: { authorization: `Bearer ${token}` } });
    await rig.enforce([people()], jwks);
    await rig.ask({ headers: { authorization: `Bearer ${issuer.sign(claimsAt(rig.clock.nowMs()))}` } });
    expect(asked).toEqual([`${EXCHANGE}/keys`, undefined]);
  });

  test('keys of the exchange that the CA delivers are asked of nobody; those that are gone serve no more', async () => {
    const asked: (string | undefined)[] = [];
    const noting: KeySource = { keysOf: (named) => (asked.push(named.jwksUri), Promise.resolve([])) };
    const rig = new AuthorizerRig({ keys: noting });
    const jwks = { exchangeIssuer: EXCHANGE, exchangeJwksUri: `${EXCHANGE}/keys` };
    const next = new TestIssuer({ name: EXCHANGE, keyId: 'key-2' });
    const answerTo = async (by: TestIssuer, exchangeKeys: readonly IssuerKey[], jwksUri?: string) => {
      await rig.enforce([people({ issuer: EXCHANGE, jwksUri }), authz('all', { rules: [{}] })], { ...jwks, exchangeKeys });
      const token = by.sign(claimsAt(rig.clock.nowMs(), { iss: EXCHANGE }), { typ: 'at+jwt' });
      return summary(await rig.ask({ headers: { authorization: `Bearer ${token}` } }));
    };
    expect(await answerTo(exchange, exchange.keys)).toBe('allow 200 allowed_by_rule');
    expect(await answerTo(next, exchange.keys)).toBe('deny 401 user_refused');
    expect(await answerTo(next, [...exchange.keys, ...next.keys])).toBe('allow 200 allowed_by_rule');
    expect(await answerTo(exchange, next.keys)).toBe('deny 401 user_refused');
    expect(await answerTo(next, [])).toBe('deny 401 user_refused');
    expect(await answerTo(next, next.keys, jwks.exchangeJwksUri)).toBe('allow 200 allowed_by_rule');
    expect(asked).toEqual([]);
    // A RequestAuthentication that says where else they are is believed.
    expect(await answerTo(next, next.keys, 'https://elsewhere.example.org/keys')).toBe('deny 401 user_refused');
    expect(asked).toEqual(['https://elsewhere.example.org/keys']);
  });

  test('a connection whose requests nobody sees has no token that could be required', async () => {
    const { rig } = await rigWith([people({ tokens: 'Required' }), authz('all', { rules: [{}] })]);
    expect(summary(await rig.ask({ request: undefined }))).toBe('deny 401 user_missing');
    await rig.enforce([people(), authz('all', { rules: [{}] })]);
    expect(summary(await rig.ask({ request: undefined }))).toBe('allow 200 allowed_by_rule');
    await rig.enforce([people(), forUsers({ subjects: ['alice'] })]);
    expect(summary(await rig.ask({ request: undefined }))).toBe('deny 403 no_rule_matches');
  });

  test('of an ambiguous request no token can be told', async () => {
    const { rig, bearer } = await rigWith([people(), authz('all', { rules: [{}] })]);
    const ambiguous = { target: '/a%2fb', headers: bearer };
    expect(summary(await rig.ask(ambiguous))).toBe('deny 403 path_encoded_slash');
    await rig.enforce([people()], { defaultAction: 'allow' });
    expect(summary(await rig.ask(ambiguous))).toBe('deny 400 user_refused');
  });

  test('tokens are looked at only where a RequestAuthentication selects the destination', async () => {
    const { rig, bearer } = await rigWith([people(), forUsers({ subjects: ['alice'] })]);
    const asking = { asking: rig.asking, headers: bearer };
    rig.identities.set({ ...rig.identities.value, entries: [agentEntry('orders', '/orders', { namespace: 'other' })] });
    await rig.enforce([people(), authz('other/users', { rules: [{ from: [{ users: [{ subjects: ['alice'] }] }] }] })]);
    expect(summary(await rig.ask(asking))).toBe('deny 403 no_rule_matches');
  });
});

describe('relations', () => {
  const related = authz('docs', {
    rules: [
      {
        to: [{ paths: [{ template: '/orders/{id}' }] }],
        relations: [{ user: 'workload:{source.serviceAccount}', relation: 'viewer', object: 'order:{path.id}' }],
      },
    ],
  });

  test('are asked for where they decide, and deny where they cannot be', async () => {
    const asked: string[] = [];
    let answer: readonly boolean[] | undefined = [true];
    const rig = new AuthorizerRig({
      relations: {
        check(queries) {
          asked.push(...queries.map(({ user, relation, object }) => `${user} ${relation} ${object}`));
          return answer === undefined ? Promise.reject(new Error('away')) : Promise.resolve(answer);
        },
      },
    });
    await rig.enforce([related]);
    expect(summary(await rig.ask())).toBe('allow 200 allowed_by_rule');
    expect(asked).toEqual(['workload:web viewer order:1']);
    answer = [false];
    expect(summary(await rig.ask())).toBe('deny 403 no_rule_matches');
    answer = undefined;
    expect(summary(await rig.ask())).toBe('deny 403 no_rule_matches');
    // Where they decide nothing, nobody waits.
    expect(rig.ask({ target: '/other' })).toMatchObject({ verdict: 'deny' });
  });

  test('without a store an ALLOW rule with relations never matches', async () => {
    const rig = new AuthorizerRig();
    await rig.enforce([related]);
    expect(rig.ask()).toMatchObject({ verdict: 'deny', reason: 'no_rule_matches' });
  });
});

describe('an answer', () => {
  test('is there at once where nothing has to be asked', async () => {
    const { rig, bearer } = await rigWith([people(), authz('all', { rules: [{}] })]);
    expect(rig.ask()).toMatchObject({ verdict: 'allow', status: 200 });
    expect(rig.ask({ headers: bearer })).toBeInstanceOf(Promise);
  });

  test('that was waited for goes by the policy that is in force then', async () => {
    let release: (found: readonly IssuerKey[]) => void = () => {};
    const slow: KeySource = { keysOf: () => new Promise((resolve) => (release = resolve)) };
    const rig = new AuthorizerRig({ keys: slow });
    await rig.enforce([people(), authz('all', { rules: [{}] })]);
    const token = issuer.sign(claimsAt(rig.clock.nowMs()));
    const answer = rig.ask({ headers: { authorization: `Bearer ${token}` } });
    await rig.enforce([authz('all', { action: 'DENY', rules: [{}] })]);
    release(issuer.keys);
    expect(summary(await answer)).toBe('deny 403 denied_by_rule');
  });

  test('is a denial where something fails within, and is recorded', async () => {
    const failing = new AuthorizerRig({
      identities: {
        entitlementsOf() {
          throw new Error('a fault');
        },
      },
    });
    await failing.enforce([], { defaultAction: 'allow' });
    expect(failing.ask()).toMatchObject({ verdict: 'deny', status: 503, reason: 'internal' });
    const later = new AuthorizerRig({ keys: { keysOf: () => Promise.reject(new Error('a fault')) } });
    await later.enforce([people()], { defaultAction: 'allow' });
    const token = issuer.sign(claimsAt(later.clock.nowMs()));
    expect(summary(await later.ask({ headers: { authorization: `Bearer ${token}` } }))).toBe('deny 503 internal');
    expect(later.decided.map(({ outcome }) => outcome.reason)).toEqual(['internal']);
  });

  test('stands where it cannot be recorded', async () => {
    const rig = new AuthorizerRig({
      onDecided() {
        throw new Error('a fault');
      },
    });
    await rig.enforce([authz('all', { rules: [{}] })]);
    expect(rig.ask()).toMatchObject({ verdict: 'allow' });
  });

  test('is recorded with what was decided about, when, and how long it took', async () => {
    const { rig } = await rigWith([authz('all', { rules: [{ from: [{ serviceAccounts: ['front/web'] }] }] })]);
    await rig.ask({ sourceAddress: '10.0.0.7', port: 8443 });
    const [{ call, outcome, atMs, durationMs } = {}] = rig.decided;
    expect(outcome?.verdict).toBe('allow');
    expect(call?.source).toMatchObject({ spiffeId: CALLER, namespace: 'front', serviceAccount: 'web', address: [167_772_167] });
    expect(call?.destination).toMatchObject({ namespace: 'shop', port: 8443 });
    expect({ atMs, durationMs }).toEqual({ atMs: rig.clock.nowMs(), durationMs: 0 });
  });
});
