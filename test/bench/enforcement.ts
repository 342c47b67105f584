// What a check costs the agent's authorizer, all but the wire: the destination, normalisation, the decision. And how long policy takes
// from the stream into force. 10,000 policies, 100 rules for the destination, 10,000 registered workloads.
import { EnforcedPolicy } from '../../agent/authz/enforced-policy.ts';
import { SETTINGS, type PolicyDocument, type PolicyUpdate } from '../../agent/authz/policy-update.ts';
import type { Check } from '../../agent/authz/check.ts';
import { createAuthorizer } from '../../agent/authz/authorizer.ts';
import { systemClock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { createLogger } from '../../runtime/log.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { agentEntry, selectorSet } from '../support/authorizer-rig.ts';
import { authz } from '../support/policy/policy-objects.ts';
import { TestCa } from '../support/test-ca.ts';
import type { Figure } from './report.ts';

const POLICIES = 10_000;
const OF_DESTINATION = 100;
const CHECKS = 200_000;
const ROUNDS = 7;
const asking = selectorSet(
  'k8s:ns:shop',
  'k8s:sa:orders',
  ...Array.from({ length: 12 }, (_, index) => `k8s:pod-label:l${index}:v`),
);
const settings = { defaultAction: 'deny', exchangeIssuer: undefined, exchangeJwksUri: undefined } as const;

/** Nothing is started: the agent's parts run in this process. */
export async function measureEnforcement(): Promise<Figure[]> {
  const policy = new EnforcedPolicy(systemClock, () => []);
  const fullMs = await timed(
    policy,
    update(
      Array.from({ length: POLICIES }, (_, index) => index),
      true,
    ),
  );
  const oneMs: number[] = [];
  for (let index = 0; index < 50; index += 1) oneMs.push(await timed(policy, update([index * 7])));
  const figure = (what: string, unit: string, countersign: number, atMost?: number): Figure => {
    return {
      section: 'enforcement',
      what,
      unit,
      countersign,
      lessIsBetter: true,
      ...(atMost === undefined ? {} : { target: { atMost } }),
    };
  };
  const micros = Array.from({ length: ROUNDS }, () => microsPerCheck(policy));
  return [
    figure('a check at the agent, without the wire', 'µs', median(micros), 30),
    figure('10,000 policies and workloads into force', 'ms', fullMs),
    figure('one policy of 10,000 into force', 'ms', median(oneMs), 10),
  ];
}

function microsPerCheck(policy: EnforcedPolicy): number {
  const bundle = TestCa.create().bundle();
  const entries = [agentEntry('orders', '/ns/shop/sa/orders', { namespace: 'shop', serviceAccount: 'orders' })];
  const identities = new Current({ identities: [], entries, pending: 0, bundle, federatedBundles: new Map() });
  const authorizer = createAuthorizer({
    identities: { entitlementsOf: () => identities },
    policy,
    staleness: { value: false },
    keys: { keysOf: () => Promise.resolve([]) },
    clock: systemClock,
    log: createLogger({ level: 'fatal', name: 'agent' }),
  });
  const checks = Array.from({ length: 128 }, (_, index) => checkOf(index));
  const startedMs = systemClock.monotonicMs();
  for (let count = 0; count < CHECKS; count += 1) {
    const check = checks[count & 127];
    if (check !== undefined) void authorizer.authorize(check);
  }
  return ((systemClock.monotonicMs() - startedMs) * 1000) / CHECKS;
}

/** A request as a proxy tells of it; three of four are allowed. */
function checkOf(index: number): Check {
  const headers = [
    ['host', 'orders.shop'],
    ['user-agent', 'curl/8.5.0'],
    ['accept', '*/*'],
    ['x-request-id', 'b8a1ea0b-3d7b-4a5a-9f43-0a0b0c0d0e0f'],
    ['x-forwarded-proto', 'https'],
    ['content-type', 'application/json'],
  ] as const;
  const request = {
    method: index % 4 === 3 ? 'DELETE' : 'GET',
    target: `/v${index}/orders/4711?page=2`,
    authority: 'orders.shop',
    headers,
  };
  const sourceId = parseSpiffeId(`spiffe://example.org/client-${index % OF_DESTINATION}`);
  return { point: 'ext_authz', asking, port: 8443, sourceId, sourceAddress: '10.0.0.7', request };
}

function update(indexes: readonly number[], isSnapshot = false): PolicyUpdate {
  return {
    isSnapshot,
    revision: 1n,
    policies: new Map(indexes.map(documentOf)),
    workloads: new Map(
      isSnapshot ? indexes.map((index) => [`spiffe://example.org/client-${index}`, { namespace: 'front' }]) : [],
    ),
    settings: new Map(isSnapshot ? [[SETTINGS, settings]] : []),
  };
}

function documentOf(index: number): readonly [string, PolicyDocument] {
  const namespace = index < OF_DESTINATION ? 'shop' : `ns-${index % 990}`;
  const from = [{ spiffeIDs: [`spiffe://example.org/client-${index}`] }];
  const rules = [
    {
      from,
      to: [{ methods: ['GET'], paths: [{ template: `/v${index}/orders/{id}` }, { template: `/v${index + 100}/orders/{id}` }] }],
    },
  ];
  const policy = parsePolicy(authz(`${namespace}/policy-${index}`, { rules }));
  return [`AuthorizationPolicy/${namespace}/policy-${index}`, { kind: 'policy', policy }];
}

async function timed(policy: EnforcedPolicy, change: PolicyUpdate): Promise<number> {
  const startedMs = systemClock.monotonicMs();
  policy.swap(await policy.prepare(change));
  return systemClock.monotonicMs() - startedMs;
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;
}
