import { expect, test } from 'vitest';
import type { DeclaredObject } from '../../../../controller/declared-objects.ts';
import { FederationIndex } from '../../../../controller/federation/federation-index.ts';
import { IdentityIndex } from '../../../../controller/identity/identity-index.ts';
import type { Problem } from '../../../../controller/ports.ts';
import { sameStatus } from '../../../../controller/status/same-status.ts';
import { statusOf, type StatusInputs } from '../../../../controller/status/status-of.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { CLUSTER_WORKLOAD_IDENTITY } from '../../../../crds/cluster-workload-identity.ts';
import { WORKLOAD_IDENTITY } from '../../../../crds/workload-identity.ts';
import { clusterIdentity, teamIdentity, testNode, testPod, testSettings } from '../../../support/identity-world.ts';

const KEY = 'ClusterWorkloadIdentity//web';
const settings = testSettings();
const object: DeclaredObject = {
  key: KEY,
  type: CLUSTER_WORKLOAD_IDENTITY.type,
  ref: { kind: 'ClusterWorkloadIdentity', namespace: '', name: 'web', uid: 'uid-web' },
  generation: 3,
  isOurs: true,
  status: undefined,
  fault: undefined,
};

function inputs(
  template: string,
  changes: { failures?: readonly Problem[]; outage?: IdentityError; now?: string } = {},
): StatusInputs {
  const index = new IdentityIndex(settings);
  index.putNamespace('shop', { name: 'shop', labels: {} });
  index.putNode('n1', testNode('n1'));
  index.putPod('shop/web', testPod({ name: 'web' }));
  index.putPod('shop/late', testPod({ name: 'late', node: undefined }));
  index.putDeclaration(clusterIdentity({ name: 'web', spec: { spiffeIDTemplate: template } }));
  index.settle();
  return {
    index,
    entries: { failuresOf: () => changes.failures ?? [] },
    outage: () => changes.outage,
    federation: new FederationIndex(settings.trustDomain),
    relationships: { failureOf: () => undefined, isInForce: () => true },
    now: () => changes.now ?? '2026-01-01T00:00:00Z',
  };
}

const GOOD = 'spiffe://example.org/{{ .PodMeta.Name }}';

test('says what came of a declaration', () => {
  expect(statusOf(object, inputs(GOOD))).toEqual({
    observedGeneration: 3,
    conditions: [
      expect.objectContaining({ type: 'Accepted', status: 'True', observedGeneration: 3 }),
      {
        type: 'Ready',
        status: 'True',
        reason: 'InForce',
        message: '1 entry in force; 1 pod not on a node yet',
        observedGeneration: 3,
        lastTransitionTime: '2026-01-01T00:00:00Z',
      },
    ],
    stats: {
      namespacesSelected: 1,
      namespacesIgnored: 0,
      podsSelected: 2,
      podEntryRenderFailures: 0,
      entriesMasked: 0,
      entriesToSet: 1,
      entryFailures: 0,
    },
  });
});

const readyOf = (given: StatusInputs, about = object): unknown => statusOf(about, given)?.['conditions'];

test.each([
  [
    'RenderFailed',
    'False',
    inputs('spiffe://other.test/x'),
    'pod shop/web: spec.spiffeIDTemplate: "spiffe://other.test/x" is outside',
  ],
  [
    'EntryRefused',
    'False',
    inputs(GOOD, { failures: [{ reason: 'EntryRefused', message: 'because', pod: 'shop/web' }] }),
    'pod shop/web: because',
  ],
  ['CaUnavailable', 'Unknown', inputs(GOOD, { outage: new IdentityError('unavailable', 'no route') }), 'no route'],
])('is not ready: %s', (reason, status, given, message) => {
  expect(readyOf(given)).toContainEqual(
    expect.objectContaining({ type: 'Ready', status, reason, message: expect.stringContaining(message) }),
  );
});

test('a specification that is at fault is not accepted, and what was before stays', () => {
  const fault = { reason: 'Invalid', message: 'spec.nonsense: unknown key' };
  expect(readyOf(inputs(GOOD), { ...object, fault })).toEqual([
    expect.objectContaining({ type: 'Accepted', status: 'False', ...fault }),
    expect.objectContaining({
      type: 'Ready',
      status: 'False',
      reason: 'Invalid',
      message: expect.stringContaining('stays in force'),
    }),
  ]);
});

test('the time of a condition is that of its last change', () => {
  const first = statusOf(object, inputs(GOOD));
  const later = inputs(GOOD, { now: '2027-01-01T00:00:00Z' });
  expect(statusOf({ ...object, status: first }, later)).toEqual(first);
  const broken = statusOf({ ...object, status: first }, inputs('spiffe://other.test/x', { now: '2027-01-01T00:00:00Z' }));
  expect(broken?.['conditions']).toContainEqual(
    expect.objectContaining({ type: 'Ready', lastTransitionTime: '2027-01-01T00:00:00Z' }),
  );
  expect(sameStatus(first, broken)).toBe(false);
  expect(sameStatus(first, { stats: first?.['stats'], conditions: first?.['conditions'], observedGeneration: 3 })).toBe(true);
});

test('an ID that another object gives power, and templates that take too much, are told', () => {
  const given = inputs(GOOD);
  const index = new IdentityIndex(testSettings({ allowAdminIdentities: true }));
  index.putNamespace('shop', { name: 'shop', labels: {} });
  index.putNode('n1', testNode('n1'));
  for (let number = 0; number < 20; number += 1)
    index.putPod(`shop/p${number}`, testPod({ name: `p${number}`, labels: { app: 'a' } }));
  const operator = {
    spiffeIDTemplate: 'spiffe://example.org/ns/shop/op',
    podSelector: { matchLabels: { app: 'a' } },
    admin: true,
  };
  index.putDeclaration(clusterIdentity({ name: 'operator', spec: operator }));
  const declare = (pathTemplate: string): unknown => {
    index.putDeclaration(teamIdentity('shop', { name: 'web', spec: { pathTemplate } }));
    index.settle();
    const key = 'WorkloadIdentity/shop/web';
    const ref = { ...object.ref, kind: 'WorkloadIdentity', namespace: 'shop' };
    return statusOf({ ...object, key, ref, type: WORKLOAD_IDENTITY.type }, { ...given, index });
  };
  expect(declare('op')).toMatchObject({
    stats: { podEntryRenderFailures: 20, entriesToSet: 0, entriesMasked: 0 },
    conditions: [
      { type: 'Accepted' },
      {
        reason: 'IDReserved',
        message: expect.stringMatching(/^20 entries not made; pod shop\/p0: ClusterWorkloadIdentity operator /),
      },
    ],
  });
  expect(declare('x{{ range 24000 }}{{ end }}')).toMatchObject({
    conditions: [{ type: 'Accepted' }, { status: 'False', reason: 'Suspended', message: expect.stringMatching(/^suspended: /) }],
  });
});

test.each([
  ['only such a one', ['ignored'], /^all namespaces that it selects are left alone by .*: ignored$/],
  ['one that selects others too', ['ignored', 'shop'], /^it selects no pod .* in its namespaces; left alone by .*: ignored$/],
  ['one that selects none of them', ['shop'], /^it selects no pod .* in its namespaces$/],
])('names the namespaces that are left alone where nothing is selected: %s', (_what, namespaces, expected) => {
  const index = new IdentityIndex(settings);
  for (const name of namespaces) index.putNamespace(name, { name, labels: {} });
  index.putPod('ignored/web', testPod({ name: 'web', namespace: 'ignored' }));
  index.putDeclaration(clusterIdentity({ name: 'web', spec: { spiffeIDTemplate: GOOD } }));
  index.settle();
  const status = statusOf(object, { ...inputs(GOOD), index });
  const reason = 'NothingSelected';
  expect(status?.['conditions']).toContainEqual(
    expect.objectContaining({ type: 'Ready', reason, message: expect.stringMatching(expected) }),
  );
});
