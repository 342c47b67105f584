// Policy on its way from a CA into force: an agent on real sockets, asked as Envoy asks.
import { afterEach, describe, expect, test } from 'vitest';
import { create, toBinary } from '@bufbuild/protobuf';
import { IdentityError } from '../../../../core/errors.ts';
import { parsePolicy } from '../../../../policy/parse-policy.ts';
import { encodePolicy } from '../../../../policy/wire-policy.ts';
import { ResourceSchema } from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Authorization } from '../../../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { WorkloadMetadataSchema } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import { AgentRig } from '../../../support/agent-rig.ts';
import { authz, cluster } from '../../../support/policy/policy-objects.ts';
import { TestIssuer } from '../../../support/user-tokens.ts';
import { ownUid, type StandInCa, type StandInEntry } from '../../../support/stand-in-ca.ts';

let rig: AgentRig;
afterEach(() => rig[Symbol.asyncDispose]());

const WEB = 'spiffe://example.org/web';
const CALLER = 'spiffe://example.org/caller';
const FRIEND = 'spiffe://example.org/friend';
const STRANGER = 'spiffe://example.org/stranger';
const denyAll = { action: 'DENY', rules: [{}] };
const allowAll = { rules: [{}] };

function inNamespace(namespace: string, { id = 'web', path = '/web' } = {}): StandInEntry {
  return { id, path, selectors: [ownUid], more: { countersignWorkload: create(WorkloadMetadataSchema, { namespace }) } };
}

interface Start {
  readonly prepare: (ca: StandInCa) => void;
  readonly authorization?: Readonly<Record<string, unknown>>;
}

/** An agent whose one workload is `/web` of the namespace `shop`. */
async function start({ prepare, authorization = {} }: Start): Promise<void> {
  const listen = { workload: 'unix:./api.sock', http: '127.0.0.1:0' };
  rig = await AgentRig.start({
    config: { listen, authorization },
    prepare: (ca) => {
      ca.put(inNamespace('shop'));
      prepare(ca);
    },
  });
  await rig.ready();
}

interface Question {
  readonly source?: string;
  readonly destination?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Verdict and reason for a call to this process. */
function asker(): (question?: Question) => Promise<string> {
  const client = rig.client(Authorization);
  return async ({ source = CALLER, destination, headers = {} } = {}) => {
    const { dynamicMetadata: { verdict, reason } = {} } = await client.check({
      attributes: {
        source: { principal: source },
        request: { http: { method: 'GET', path: '/', host: 'web', headers } },
        contextExtensions: destination === undefined ? {} : { 'countersign.dev/destination': destination },
      },
    });
    return typeof verdict === 'string' && typeof reason === 'string' ? `${verdict} ${reason}` : 'no decision';
  };
}

/** Waits until the agent has acknowledged what the CA has sent. */
async function acknowledged(work: () => void): Promise<void> {
  const before = rig.ca.acknowledged.length;
  work();
  await rig.until(() => rig.ca.acknowledged.length > before);
}

describe('in force', () => {
  test('nothing is allowed before a CA has delivered policy', async () => {
    await start({ prepare: () => {} });
    expect(await asker()()).toBe('deny policy_missing');
  });

  test('a policy decides as soon as it is acknowledged, each time', async () => {
    await start({ prepare: (ca) => ca.putSettings() });
    const ask = asker();
    expect(await ask()).toBe('deny default_deny');
    for (let round = 0; round < 10; round++) {
      await acknowledged(() => rig.ca.putPolicy(authz('web', allowAll)));
      expect(await ask()).toBe('allow allowed_by_rule');
      await acknowledged(() => rig.ca.putPolicy(authz('web', denyAll)));
      expect(await ask()).toBe('deny denied_by_rule');
    }
    await acknowledged(() => rig.ca.putResource('policy', 'AuthorizationPolicy/shop/web', undefined));
    expect(await ask()).toBe('deny default_deny');
    expect(rig.ca.refused).toEqual([]);
  });

  test('entries and policies of one change are in force at one moment', async () => {
    await start({
      prepare: (ca) => {
        ca.putSettings({ defaultAction: 'allow' });
        ca.putPolicy(authz('closed', denyAll));
      },
    });
    const ask = asker();
    const stop = new AbortController();
    const reasons = new Set<string>();
    const keepAsking = async (): Promise<void> => {
      while (!stop.signal.aborted) reasons.add(await ask());
    };
    const asking = Promise.all([keepAsking(), keepAsking(), keepAsking(), keepAsking()]);
    const names = ['shop', 'billing'];
    for (let round = 1; round <= 40; round++) {
      const [from = '', to = ''] = round % 2 === 1 ? names : names.toReversed();
      await acknowledged(() =>
        rig.ca.together(() => {
          rig.ca.putResource('policy', `AuthorizationPolicy/${from}/closed`, undefined);
          rig.ca.put(inNamespace(to));
          rig.ca.putPolicy(authz(`${to}/closed`, { ...denyAll, rules: [{ to: [{ paths: [{ prefix: '/' }] }] }] }));
        }),
      );
    }
    stop.abort();
    await asking;
    expect([...reasons]).toEqual(['deny denied_by_rule']);
  });

  test('expressions are loaded before a policy that has some is in force', async () => {
    await start({ prepare: (ca) => ca.putSettings() });
    const ask = asker();
    await acknowledged(() => rig.ca.putPolicy(authz('web', { rules: [{ when: 'request.method == "GET"' }] })));
    expect(await ask()).toBe('allow allowed_by_rule');
  });

  test('the settings of a CA that changes them hold for all policies that there are', async () => {
    await start({ prepare: (ca) => ca.putSettings({ defaultAction: 'deny' }) });
    const ask = asker();
    await acknowledged(() => rig.ca.putPolicy(authz('billing/other', denyAll)));
    expect(await ask()).toBe('deny default_deny');
    await acknowledged(() => rig.ca.putSettings({ defaultAction: 'audit' }));
    expect(await ask()).toBe('allow default_audit');
    await acknowledged(() => rig.ca.putPolicy(authz('web', denyAll)));
    await acknowledged(() => rig.ca.putSettings({ defaultAction: 'allow' }));
    expect(await ask()).toBe('deny denied_by_rule');
  });

  test('the keys of the exchange come with the settings: a new one is good as soon as it is acknowledged, a removed one no more', async () => {
    const exchangeIssuer = 'https://token.example.org';
    const [one, two] = ['one', 'two'].map((keyId) => new TestIssuer({ name: exchangeIssuer, keyId }));
    if (one === undefined || two === undefined) throw new Error('unreachable');
    const jwks = (...issuers: TestIssuer[]) => JSON.stringify({ keys: issuers.map(({ jwk }) => jwk) });
    await start({
      prepare: (ca) => {
        ca.putSettings({ exchangeIssuer, exchangeJwks: jwks(one) });
        ca.putPolicy(authz('web', allowAll));
        ca.putPolicy({
          kind: 'RequestAuthentication',
          apiVersion: 'countersign.dev/v1alpha1',
          metadata: { name: 'people', namespace: 'shop' },
          spec: { issuers: [{ issuer: exchangeIssuer, audiences: ['web'] }], tokens: 'Required' },
        });
      },
    });
    const ask = asker();
    const seconds = Math.floor(rig.clock.nowMs() / 1000);
    const claims = { iss: exchangeIssuer, sub: CALLER, aud: 'web', iat: seconds, exp: seconds + 300 };
    const answerTo = (by: TestIssuer) => ask({ headers: { authorization: `Bearer ${by.sign(claims, { typ: 'at+jwt' })}` } });
    expect([await answerTo(one), await answerTo(two)]).toEqual(['allow allowed_by_rule', 'deny user_refused']);
    await acknowledged(() => rig.ca.putSettings({ exchangeIssuer, exchangeJwks: jwks(one, two) }));
    expect([await answerTo(one), await answerTo(two)]).toEqual(['allow allowed_by_rule', 'allow allowed_by_rule']);
    await acknowledged(() => rig.ca.putSettings({ exchangeIssuer, exchangeJwks: jwks(two) }));
    expect([await answerTo(one), await answerTo(two)]).toEqual(['deny user_refused', 'allow allowed_by_rule']);
    await acknowledged(() => rig.ca.putSettings({ exchangeIssuer, exchangeJwks: 'no keys' }));
    expect(rig.ca.refused).toEqual(['authorization']);
    expect(await answerTo(two)).not.toMatch(/^allow/);
  });

  test('what callers are registered as comes with policy', async () => {
    await start({
      prepare: (ca) => {
        ca.putSettings();
        ca.putPolicy(authz('web', { rules: [{ from: [{ namespaces: ['front'] }] }] }));
        ca.putWorkload(CALLER, { namespace: 'front' });
      },
    });
    const ask = asker();
    expect(await ask()).toBe('allow allowed_by_rule');
    expect(await ask({ source: 'spiffe://example.org/other' })).toBe('deny no_rule_matches');
    await acknowledged(() => rig.ca.putResource('workload', CALLER, undefined));
    expect(await ask()).toBe('deny no_rule_matches');
  });

  test('after a full state, what it does not name is gone', async () => {
    await start({
      prepare: (ca) => {
        ca.putSettings();
        ca.putPolicy(authz('web', allowAll));
      },
    });
    const ask = asker();
    expect(await ask()).toBe('allow allowed_by_rule');
    const port = await rig.ca.down();
    rig.ca.putResource('policy', 'AuthorizationPolicy/shop/web', undefined);
    rig.ca.feedId = 'feed-2';
    await rig.ca.up(port);
    await rig.until(async () => (await ask()) === 'deny default_deny', 1_000);
  });

  test('health and metrics tell the revision, and how old it is', async () => {
    await start({
      prepare: (ca) => {
        ca.putSettings();
        ca.putPolicy(authz('web', allowAll));
        ca.putResource('policy', 'AuthorizationPolicy/shop/odd', new Uint8Array([1]));
      },
    });
    const get = async (path: string) => (await fetch(`http://127.0.0.1:${rig.agent.httpPort}${path}`)).text();
    expect(await get('/readyz')).toMatch(/revision \d+, 2 policies, 1 of them unreadable; current/);
    const port = await rig.ca.down();
    await rig.pass(8_000);
    const metrics = await get('/metrics');
    expect(metrics).toMatch(/^countersign_agent_policy_age_seconds [1-8]$/m);
    expect(metrics).toMatch(/^countersign_agent_policies 2$/m);
    expect(metrics).toMatch(/^countersign_agent_unreadable_policies 1$/m);
    expect(metrics).toMatch(/^countersign_agent_policy_revision [1-9]\d*$/m);
    await rig.ca.up(port);
  });
});

describe('what cannot be read closes what it may concern', () => {
  const unreadable = new Uint8Array([0xff, 0xff]);

  /** Two workloads of this process, of the namespaces `shop` and `other`, to which everything is allowed. */
  async function startOpen(): Promise<(destination?: string) => Promise<string>> {
    await start({
      prepare: (ca) => {
        ca.put(inNamespace('other', { id: 'other', path: '/other' }));
        ca.putSettings({ defaultAction: 'allow' });
        ca.putPolicy(authz('web', allowAll));
        ca.putPolicy({
          kind: 'RequestAuthentication',
          apiVersion: 'countersign.dev/v1alpha1',
          metadata: { name: 'people', namespace: 'shop' },
          spec: { issuers: [{ issuer: 'https://login.example.org', audiences: ['web'] }] },
        });
      },
    });
    const ask = asker();
    const open = (path = '/web'): Promise<string> => ask({ destination: `spiffe://example.org${path}` });
    expect(await open()).toBe('allow allowed_by_rule');
    return open;
  }

  test('a resource of a namespace: all of it, until it is replaced or gone', async () => {
    const ask = await startOpen();
    const names = [
      'AuthorizationPolicy/shop/new',
      'AuthorizationPolicy/shop/web',
      'RequestAuthentication/shop/people',
      'Later/shop/x',
    ];
    for (const name of names) {
      await acknowledged(() => rig.ca.putResource('policy', name, unreadable));
      expect(rig.ca.refused.at(-1)).toBe(name);
      expect(await ask()).toBe('deny denied_by_rule');
      expect(await ask('/other')).toBe('allow default_allow');
      await acknowledged(() => rig.ca.putResource('policy', name, undefined));
      expect(await ask()).toMatch(/^allow/);
    }
  });

  test('a policy that is replaced by a readable one opens again', async () => {
    const ask = await startOpen();
    await acknowledged(() => rig.ca.putResource('policy', 'AuthorizationPolicy/shop/web', unreadable));
    expect(await ask()).toBe('deny denied_by_rule');
    await acknowledged(() => rig.ca.putPolicy(authz('web', allowAll)));
    expect(await ask()).toBe('allow allowed_by_rule');
  });

  test('a resource of no namespace: every workload', async () => {
    const ask = await startOpen();
    for (const name of ['ClusterAuthorizationPolicy//new', 'Later//x', 'odd', 'a/b/c/d', 'AuthorizationPolicy//nowhere']) {
      await acknowledged(() => rig.ca.putResource('policy', name, unreadable));
      expect(await ask()).toBe('deny denied_by_rule');
      expect(await ask('/other')).toBe('deny denied_by_rule');
      await acknowledged(() => rig.ca.putResource('policy', name, undefined));
      expect(await ask('/other')).toBe('allow default_allow');
    }
  });

  test('settings: everything that no policy allows', async () => {
    const ask = await startOpen();
    await acknowledged(() => rig.ca.putSettings({ defaultAction: 'perhaps' }));
    expect(rig.ca.refused).toEqual(['authorization']);
    expect(await ask()).toBe('allow allowed_by_rule');
    expect(await ask('/other')).toBe('deny default_deny');
    await acknowledged(() => rig.ca.putSettings({ defaultAction: 'allow' }));
    expect(await ask('/other')).toBe('allow default_allow');
  });

  test('the registration of a caller: rules over it deny, and do not allow', async () => {
    const ask = await startOpen();
    await acknowledged(() => rig.ca.putResource('workload', CALLER, unreadable));
    expect(await ask('/other')).toBe('allow default_allow');
    const fromFront = { rules: [{ from: [{ namespaces: ['front'] }] }] };
    await acknowledged(() => rig.ca.putPolicy(authz('other/a', { ...fromFront, action: 'DENY' })));
    expect(await ask('/other')).toBe('deny denied_by_rule');
    await acknowledged(() => rig.ca.putPolicy(authz('other/a', fromFront)));
    expect(await ask('/other')).toBe('deny no_rule_matches');
    await acknowledged(() => rig.ca.putWorkload(CALLER, { namespace: 'front' }));
    expect(await ask('/other')).toBe('allow allowed_by_rule');
  });

  test('a full state that has something unreadable', async () => {
    await start({
      prepare: (ca) => {
        ca.putSettings({ defaultAction: 'allow' });
        ca.putResource('policy', 'AuthorizationPolicy/shop/x', unreadable);
      },
    });
    expect(await asker()()).toBe('deny denied_by_rule');
  });

  test('a document under the name of another', async () => {
    const ask = await startOpen();
    const document = encodePolicy(parsePolicy(authz('other/open', allowAll)));
    const name = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'web' };
    const value = toBinary(ResourceSchema, create(ResourceSchema, { name, document }));
    await acknowledged(() => rig.ca.putResource('policy', 'AuthorizationPolicy/shop/web', value));
    expect(rig.ca.refused).toEqual(['AuthorizationPolicy/shop/web']);
    expect(await ask()).toBe('deny denied_by_rule');
  });
});

describe('a CA that is away, or another one', () => {
  const config = { authorization: { maxStaleness: '1m' } };

  test('policy decides until it is too old, and then nothing is allowed', async () => {
    await start({ ...config, prepare: (ca) => (ca.putSettings(), ca.putPolicy(authz('web', allowAll))) });
    const ask = asker();
    // As long as the CA is there, nothing new is no reason to doubt.
    await rig.pass(120_000);
    expect(await ask()).toBe('allow allowed_by_rule');
    const port = await rig.ca.down();
    await rig.pass(56_000);
    expect(await ask()).toBe('allow allowed_by_rule');
    await rig.pass(8_000);
    expect(await ask()).toBe('deny policy_stale');
    await rig.ca.up(port);
    // In small steps: a connection that takes long by this clock is given up.
    await rig.until(async () => (await ask()) === 'allow allowed_by_rule', 100);
  });

  test('destinations all of whose policies fail open are open then; a clock that is set back makes nothing younger', async () => {
    const open = { failureMode: 'Open' };
    await start({
      ...config,
      prepare: (ca) => {
        ca.put(inNamespace('other', { id: 'other', path: '/other' }));
        ca.putSettings();
        ca.putPolicy(authz('web', { ...allowAll, ...open }));
        ca.putPolicy(authz('record', { ...allowAll, action: 'AUDIT' }));
        ca.putPolicy(authz('later', { ...denyAll, mode: 'DryRun' }));
        ca.putPolicy(authz('other/web', { ...allowAll, ...open }));
        ca.putPolicy(authz('other/more', denyAll));
      },
    });
    const ask = asker();
    await rig.ca.down();
    await rig.pass(40_000);
    rig.clock.step(-30_000);
    await rig.pass(24_000);
    expect(await ask({ destination: WEB })).toBe('allow policy_stale');
    expect(await ask({ destination: 'spiffe://example.org/other' })).toBe('deny policy_stale');
  });

  test('a server that delivers no policy: what there is stays in force where it is about, and ages', async () => {
    await start({
      ...config,
      prepare: (ca) => {
        ca.putSettings({ defaultAction: 'allow' });
        ca.putPolicy(authz('web', { action: 'DENY', rules: [{ from: [{ namespaces: ['front'] }] }] }));
        ca.putWorkload(CALLER, { namespace: 'front' });
        ca.putWorkload(FRIEND, { namespace: 'back' });
      },
    });
    const ask = asker();
    expect(await ask()).toBe('deny denied_by_rule');
    expect(await ask({ source: STRANGER })).toBe('allow default_allow');
    rig.ca.isWatchable = false;
    rig.ca.endWatches(new IdentityError('unavailable', 'another server'));
    await rig.until(() => rig.ca.calls.includes('SyncAuthorizedEntries'), 1_000);
    expect(await ask()).toBe('deny denied_by_rule');
    expect(await ask({ source: FRIEND })).toBe('allow default_allow');
    // Whoever is not known may have been registered since, as anything.
    await rig.until(async () => (await ask({ source: STRANGER })) === 'deny denied_by_rule');
    rig.ca.put(inNamespace('new', { id: 'new', path: '/new' }));
    const toNew = { destination: 'spiffe://example.org/new' };
    await rig.until(async () => (await ask(toNew)) === 'deny policy_missing', 1_000);
    rig.ca.remove('new');
    await rig.until(async () => (await ask(toNew)) === 'deny no_identity', 1_000);
    await rig.until(async () => (await ask({ destination: WEB })) === 'deny policy_stale', 4_000);
    rig.ca.isWatchable = true;
    const port = await rig.ca.down();
    // Polling ends with a poll that fails.
    await rig.pass(8_000);
    await rig.ca.up(port);
    await rig.until(async () => (await ask({ destination: WEB })) === 'deny denied_by_rule', 100);
    expect(rig.ca.subscriptions.at(-1)).toEqual({ feedId: '', revision: 0n });
  });

  test('a CA that begins to deliver policy is watched from the start: it may have left out some before', async () => {
    await start({ prepare: (ca) => ca.putPolicy(authz('web', allowAll)) });
    const ask = asker();
    expect(await ask()).toBe('deny policy_missing');
    rig.ca.putSettings();
    await rig.until(async () => (await ask()) === 'allow allowed_by_rule', 1_000);
    expect(rig.ca.subscriptions.map(({ revision }) => revision)).toEqual([0n, 0n]);
  });
});

describe('the destination', () => {
  test('a process of several identities says which one is called, and only one of its own', async () => {
    await start({
      prepare: (ca) => {
        ca.put(inNamespace('other', { id: 'other', path: '/other' }));
        ca.putSettings();
        ca.putPolicy(cluster('web', { ...allowAll, spiffeIDs: [WEB] }));
      },
    });
    const ask = asker();
    expect(await ask()).toBe('deny ambiguous_identity');
    expect(await ask({ destination: WEB })).toBe('allow allowed_by_rule');
    expect(await ask({ destination: 'spiffe://example.org/other' })).toBe('deny default_deny');
    expect(await ask({ destination: 'spiffe://example.org/third' })).toBe('deny no_identity');
    await acknowledged(() => rig.ca.remove('other'));
    expect(await ask()).toBe('allow allowed_by_rule');
    await acknowledged(() => rig.ca.remove('web'));
    expect(await ask()).toBe('deny no_identity');
  });

  test('two entries of one identity that name different namespaces decide nothing', async () => {
    await start({
      prepare: (ca) => {
        ca.put(inNamespace('other', { id: 'other' }));
        ca.putSettings({ defaultAction: 'allow' });
      },
    });
    expect(await asker()()).toBe('deny ambiguous_identity');
  });
});
