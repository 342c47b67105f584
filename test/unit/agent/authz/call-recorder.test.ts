import { describe, expect, test } from 'vitest';
import { CallRecorder, type CountedCalls } from '../../../../agent/authz/call-recorder.ts';
import { wireCall } from '../../../../agent/authz/recorded-kind.ts';
import { sharedSelectors } from '../../../../agent/authz/shared-selectors.ts';
import type { Decision } from '../../../../policy/model.ts';
import { ALLOWED, decidedCall, DENIED, ORDERS, ORDERS_POLICY, type DecidedOptions } from '../../../support/decided-calls.ts';

function recorded(calls: readonly DecidedOptions[], maxKinds = 10_000): readonly CountedCalls[] {
  const recorder = new CallRecorder({ maxKinds });
  for (const each of calls) recorder.observe(decidedCall(each));
  return recorder.take();
}

const wire = ({ kind, count, lastSeenMs }: CountedCalls) => wireCall(kind, count, lastSeenMs);

const WOULD_DENY: Decision = {
  ...ALLOWED,
  dryRun: { verdict: 'deny', reason: 'denied_by_rule', policy: ORDERS_POLICY, rule: 4, audits: [] },
};

test('equal calls are one kind with a count, when it was seen last, and a path without identifiers', () => {
  const calls = [1, 2, 3].map((id) => ({ request: { target: `/orders/${id}?page=${id}` }, atMs: 1_000 * id }));
  expect(recorded(calls).map(wire)).toEqual([
    {
      sourceSpiffeId: 'spiffe://example.org/web',
      destination: {
        spiffeId: 'spiffe://example.org/orders',
        namespace: 'shop',
        serviceAccount: 'orders',
        port: 8080,
        selectors: ['k8s:ns:shop', 'k8s:pod-label:app:orders'],
      },
      request: { method: 'GET', host: 'orders.shop', pathTemplate: '/orders/{id}', grpcService: '', grpcMethod: '' },
      verdict: 'allow',
      reason: 'allowed_by_rule',
      rule: { policy: ORDERS_POLICY, rule: 1 },
      wouldDeny: false,
      count: 3n,
      lastSeen: { $typeName: 'google.protobuf.Timestamp', seconds: 3n, nanos: 0 },
      point: 'ext_authz',
    },
  ]);
});

test.each<[string, DecidedOptions]>([
  ['source', { source: 'spiffe://example.org/other' }],
  ['no source', { source: undefined }],
  ['destination', { destination: { ...ORDERS, port: 9 } }],
  ['method', { request: { method: 'POST' } }],
  ['host', { request: { authority: 'other.shop' } }],
  ['path', { request: { target: '/carts/7' } }],
  ['connection', { isConnection: true }],
  ['grpc', { request: { method: 'POST', target: '/a.B/C', headers: [['content-type', 'application/grpc']] } }],
  ['verdict', { decision: DENIED }],
  ['rule', { decision: { ...ALLOWED, rule: 2 } }],
  ['dry run', { decision: WOULD_DENY }],
  ['point', { point: 'access_log' }],
])('another %s is another kind', (_what, other) => {
  expect(recorded([{}, other, {}, other]).map(({ count }) => count)).toEqual([2, 2]);
});

const audited = (...names: readonly string[]): Decision => ({
  ...ALLOWED,
  audits: names.map((name, rule) => ({ policy: { ...ORDERS_POLICY, name }, rule })),
});

test('rules of AUDIT policies are part of the kind, the first of each policy and of eight policies only', () => {
  expect(recorded([{}, { decision: audited('a') }, {}]).map(({ count }) => count)).toEqual([2, 1]);
  const many = Array.from({ length: 20 }, (_, index) => `audit-${index % 10}`);
  const [one] = recorded([{ decision: audited(...many) }]);
  const rules = one === undefined ? [] : (wire(one).auditRules ?? []);
  expect(rules.map(({ policy, rule }) => [policy?.name, rule])).toEqual(
    Array.from({ length: 8 }, (_, index) => [`audit-${index}`, index]),
  );
});

test('equal destinations are one, whichever object and replica they are', () => {
  const replica = {
    ...ORDERS,
    selectors: new Set([...ORDERS.selectors, 'k8s:pod-uid:2', 'k8s:pod-label:pod-template-hash:5d8f']),
  };
  expect(recorded([{}, { destination: replica }, { destination: { ...ORDERS } }]).length).toBe(1);
});

test('what replicas do not share is left out, and secrets of the environment', () => {
  const kept = [
    'docker:label:app:x',
    'k8s:container-name:c',
    'k8s:pod-label:app:orders',
    'k8s:pod-owner:StatefulSet:db',
    'unix:uid:0',
  ];
  const left = [
    'docker:env:PASSWORD=x',
    'k8s:node-name:n',
    'k8s:pod-label:apps.kubernetes.io/pod-index:0',
    'k8s:pod-label:controller-revision-hash:1',
    'k8s:pod-label:pod-template-hash:1',
    'k8s:pod-name:x',
    'k8s:pod-owner-uid:ReplicaSet:1',
    'k8s:pod-owner:ReplicaSet:web-1',
    'k8s:pod-uid:1',
  ];
  expect(sharedSelectors([...left, ...kept].toReversed())).toEqual(kept);
});

test('of very many selectors those are kept by which policies select', () => {
  const images = Array.from({ length: 100 }, (_, index) => `k8s:container-image:image-${String(index).padStart(3, '0')}`);
  const labels = ['k8s:ns:shop', 'k8s:pod-label:app:orders', 'k8s:sa:orders'];
  const kept = sharedSelectors([...images, ...labels, `k8s:pod-label:long:${'x'.repeat(600)}`]);
  expect(kept).toEqual([...images.slice(0, 61), ...labels]);
});

test('a call that a DryRun rule would deny says so and names it', () => {
  expect(recorded([{ decision: WOULD_DENY }]).map(wire)).toMatchObject([
    { verdict: 'allow', wouldDeny: true, dryRunRule: { policy: ORDERS_POLICY, rule: 4 } },
  ]);
  const [denied] = recorded([{ decision: { ...DENIED, dryRun: DENIED } }]).map(wire);
  expect([denied?.wouldDeny, denied?.dryRunRule]).toEqual([false, undefined]);
});

test('of an ambiguous request nothing but its reason is recorded, and it stays a request', () => {
  const decision: Decision = { verdict: 'deny', reason: 'path_encoded_slash', audits: [] };
  const [call] = recorded([{ decision, request: { target: '/a%2fsecret' } }]).map(wire);
  expect(call).toMatchObject({ reason: 'path_encoded_slash', request: { method: '', host: '', pathTemplate: '' } });
});

describe('bounds', () => {
  const paths = (source: string, count: number): DecidedOptions[] =>
    Array.from({ length: count }, (_, index) => ({ source, request: { target: `/${source.slice(-1)}x${index}y/z` } }));

  test('a caller that tries many paths fills its share only; nothing is lost', () => {
    const recorder = new CallRecorder({ maxKinds: 800 });
    for (const each of paths('spiffe://example.org/a', 5_000)) recorder.observe(decidedCall(each));
    expect(recorder.kinds).toBe(101);
    for (const each of paths('spiffe://example.org/b', 50)) recorder.observe(decidedCall(each));
    expect(recorder.losses).toEqual({ folded: 4_900, dropped: 0, unplaced: 0 });
    const taken = recorder.take();
    expect(taken.length).toBe(151);
    expect(taken.reduce((sum, { count }) => sum + count, 0)).toBe(5_050);
    expect(taken.find(({ count }) => count === 4_900)?.kind.request).toMatchObject({ method: 'GET', host: '', path: '' });
  });

  test('many callers together stay below the number of kinds; what is beyond is counted', () => {
    const recorder = new CallRecorder({ maxKinds: 100 });
    for (let index = 0; index < 500; index += 1) {
      recorder.observe(decidedCall({ source: `spiffe://example.org/s${index}` }));
    }
    expect(recorder.kinds).toBe(100);
    const { folded, dropped } = recorder.losses;
    expect([folded, dropped]).toEqual([12, 400]);
  });

  test('a path with braces of its own is not recorded: it would be taken for a template', () => {
    const request = recorded([{ request: { target: '/%7Ba=**%7D' } }])[0]?.kind.request;
    expect(request).toMatchObject({ method: 'GET', path: '', grpcService: '' });
  });

  test('made-up methods, hosts and over-long paths do not multiply folded kinds', () => {
    const recorder = new CallRecorder({ maxKinds: 100 });
    for (let index = 0; index < 1_000; index += 1) {
      const request = { method: `M${index}`, target: `/${index}a`, authority: `h${index}.example` };
      recorder.observe(decidedCall({ request }));
    }
    expect(recorder.kinds).toBe(14);
    expect(recorded([{ request: { target: `/${'a'.repeat(2_000)}` } }])[0]?.kind.request?.path).toBe('');
  });

  test('a call of nobody knows which workload is counted as such', () => {
    const recorder = new CallRecorder({ maxKinds: 100 });
    recorder.observe(decidedCall({ hasCall: false }));
    recorder.observe(decidedCall({ destination: { selectors: new Set() } }));
    expect([recorder.kinds, recorder.losses.unplaced]).toEqual([0, 2]);
  });

  test('taking starts anew', () => {
    const recorder = new CallRecorder({ maxKinds: 100 });
    recorder.observe(decidedCall({ atMs: 5 }));
    expect(recorder.sinceMs).toBe(5);
    expect(recorder.take().length).toBe(1);
    expect([recorder.kinds, recorder.sinceMs, recorder.take()]).toEqual([0, undefined, []]);
  });
});

test('no claim, header or query reaches a record', () => {
  const CANARY = 'canary-77aa';
  const user = { issuer: 'https://id', subject: CANARY, claims: { CANARY }, actors: [] };
  const request = { target: `/orders?x=${CANARY}`, headers: [['authorization', CANARY]] as const };
  const calls = recorded([
    { request, outcome: { user } },
    { request: { ...request, target: `/%00?${CANARY}` }, decision: DENIED },
  ]);
  const text = JSON.stringify(calls.map(wire), (_key, value: unknown) => (typeof value === 'bigint' ? Number(value) : value));
  expect(text).not.toContain(CANARY);
});
