import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Enforcement } from '../../../../agent/authz/enforcement.ts';
import { RequestAuthentications } from '../../../../agent/authz/request-authentications.ts';
import { type Callers, whoMayConnect } from '../../../../agent/envoy/who-may-connect.ts';
import { compile, type Snapshot } from '../../../../policy/compile/snapshot.ts';
import { decide } from '../../../../policy/decide.ts';
import { compileRegex } from '../../../../policy/expressions/re2.ts';
import type { DefaultAction } from '../../../../policy/model.ts';
import { parsePolicy } from '../../../../policy/parse-policy.ts';
import type { WorkloadMetadata } from '../../../../policy/workload-metadata.ts';
import { DESTINATIONS } from '../../../support/policy/cast.ts';
import { orders } from '../../../support/policy/policy-objects.ts';
import { call, callers, policies } from '../../../support/policy/random.ts';
import { UNSEEN_CONDITIONS } from '../../../support/policy/rbac-agreement.ts';

const destination = DESTINATIONS.orders;
const WORKLOADS: ReadonlyMap<string, WorkloadMetadata> = new Map(
  callers.flatMap(({ spiffeId, namespace, serviceAccount }) =>
    spiffeId === undefined || namespace === undefined || serviceAccount === undefined
      ? []
      : [[spiffeId.toString(), { namespace, serviceAccount }] as const],
  ),
);

function callersOf(snapshot: Snapshot): Callers {
  const settings = { defaultAction: snapshot.defaultAction, exchangeIssuer: undefined, exchangeJwksUri: undefined };
  const enforcement: Enforcement = {
    snapshot,
    requestAuthentications: new RequestAuthentications(new Map(), settings),
    workloads: WORKLOADS,
    metadataOf: (id) => WORKLOADS.get(id.toString()) ?? {},
    unreadableWorkloads: new Set(),
    unreadablePolicies: new Set(),
    keptFor: undefined,
    settings,
    revision: 1n,
    syncedAtMs: 0,
  };
  return whoMayConnect({ kind: 'policies', destination, enforcement });
}

function ofRules(rules: readonly object[], defaultAction: DefaultAction = 'deny'): Callers {
  return callersOf(compile([parsePolicy(orders('p', { rules }))], { defaultAction, expressions: UNSEEN_CONDITIONS }));
}

function mayConnect(all: Callers, id: string): boolean {
  if (all === 'anybody') return true;
  return all.some((each) => {
    if ('regex' in each) return compileRegex(each.regex)(id);
    return 'exact' in each ? id === each.exact : 'prefix' in each && id.startsWith(each.prefix);
  });
}

test('whoever an ALLOW rule lets in may connect', () => {
  let letIn = 0;
  const sample = fc.record({ given: policies, calls: fc.array(call, { minLength: 40, maxLength: 40 }) });
  fc.assert(
    fc.property(sample, ({ given, calls }) => {
      const snapshot = compile(given, { defaultAction: 'deny', expressions: UNSEEN_CONDITIONS });
      const may = callersOf(snapshot);
      for (const each of calls) {
        const { spiffeId } = each.source;
        const metadata = spiffeId === undefined ? undefined : WORKLOADS.get(spiffeId.toString());
        if (spiffeId === undefined || each.source.namespace !== metadata?.namespace) continue;
        if (decide(snapshot, { ...each, destination }).reason !== 'allowed_by_rule') continue;
        letIn += 1;
        expect(mayConnect(may, spiffeId.toString())).toBe(true);
      }
    }),
    { numRuns: 500 },
  );
  expect(letIn).toBeGreaterThan(100);
});

describe('by what rules say', () => {
  test.each<[string, readonly object[], Callers]>([
    ['an ID', [{ from: [{ spiffeIDs: ['spiffe://example.org/web'] }] }], [{ exact: 'spiffe://example.org/web' }]],
    ['a trust domain', [{ from: [{ trustDomains: ['a.b'] }] }], [{ exact: 'spiffe://a.b' }, { prefix: 'spiffe://a.b/' }]],
    ['a namespace', [{ from: [{ namespaces: ['shop'] }] }], [{ exact: 'spiffe://example.org/ns/shop/sa/web' }]],
    ['a pattern', [{ from: [{ spiffeIDs: ['spiffe://example.org/w*'] }] }], [{ regex: 'spiffe://example\\.org/w[!-.0-~]*' }]],
    ['an open end', [{ from: [{ spiffeIDs: ['spiffe://example.org/ns/**'] }] }], [{ prefix: 'spiffe://example.org/ns/' }]],
    ['no ID that it rules out', [{ from: [{ spiffeIDs: ['spiffe://a.b/x'], not: { trustDomains: ['a.b'] } }] }], []],
    ['anybody', [{ to: [{ methods: ['GET'] }] }], 'anybody'],
    ['anybody beside one', [{ from: [{ spiffeIDs: ['spiffe://a.b/x'] }] }, { from: [{ ipBlocks: ['10.0.0.0/8'] }] }], 'anybody'],
    ['nobody', [], []],
  ])('%s', (_what, rules, expected) => {
    expect(ofRules(rules)).toEqual(expected);
  });

  test.each<[DefaultAction, Callers]>([
    ['allow', 'anybody'],
    ['audit', 'anybody'],
    ['deny', []],
  ])('without an ALLOW policy the default %s says who', (defaultAction, expected) => {
    const denying = parsePolicy(orders('d', { action: 'DENY', rules: [{ from: [{ trustDomains: ['a.b'] }] }] }));
    expect(callersOf(compile([denying], { defaultAction, expressions: UNSEEN_CONDITIONS }))).toEqual(expected);
  });

  test('a pattern too large for an expression is widened, never narrowed', () => {
    const long = `spiffe://example.org/${'x'.repeat(80)}/*/a`;
    expect(ofRules([{ from: [{ spiffeIDs: [long] }] }])).toEqual([{ prefix: `spiffe://example.org/${'x'.repeat(80)}/` }]);
  });

  test('without policy nobody', () => {
    expect(whoMayConnect({ kind: 'fixed', verdict: 'deny', reason: 'policy_missing' })).toEqual([]);
    expect(whoMayConnect({ kind: 'fixed', verdict: 'allow', reason: 'policy_stale' })).toBe('anybody');
  });
});
