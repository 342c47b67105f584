import { beforeEach, expect, test } from 'vitest';
import { IdentityIndex } from '../../../../controller/identity/identity-index.ts';
import { Preview } from '../../../../controller/identity/preview.ts';
import { systemClock } from '../../../../core/clock.ts';
import type { PodRecord } from '../../../../controller/ports.ts';
import { clusterIdentity, testNode, testPod, testSettings } from '../../../support/identity-world.ts';

const settings = testSettings();
const NOTHING_KEPT = { metadata: new Set<string>(), spec: new Set<string>() };

let index: IdentityIndex;
let whole: PodRecord[];
let preview: Preview;

beforeEach(() => {
  index = new IdentityIndex(settings);
  whole = [];
  preview = new Preview({
    index,
    settings,
    clock: systemClock,
    readWhole: async ({ name }) => {
      const pod = whole.find((each) => each.name === name);
      return pod && { pod, node: testNode('n1') };
    },
  });
  index.putNamespace('shop', { name: 'shop', labels: {} });
  index.putNamespace('ignored', { name: 'ignored', labels: {} });
  index.putNode('n1', testNode('n1'));
});

const declare = (spiffeIDTemplate: string, more = {}) =>
  clusterIdentity({ name: 'new', createdAtSeconds: 9, spec: { spiffeIDTemplate, ...more } });

const problemsOf = async (declaration: Parameters<Preview['dryRun']>[0]) => (await preview.dryRun(declaration)).problems;

test('counts the pods that a declaration would select', async () => {
  index.putPod('shop/a', testPod({ name: 'a', labels: { app: 'a' } }));
  index.putPod('shop/b', testPod({ name: 'b', labels: { app: 'b' } }));
  index.putPod('ignored/c', testPod({ name: 'c', namespace: 'ignored', labels: { app: 'a' } }));
  const onlyA = declare('spiffe://example.org/x', { podSelector: { matchLabels: { app: 'a' } } });
  expect(await preview.dryRun(onlyA)).toEqual({ problems: [], podsSelected: 1, podsPassedOver: 0 });
});

test('finds what is wrong without doing it', async () => {
  index.putPod('shop/a', testPod({ name: 'a' }));
  index.settle();
  expect(await problemsOf(declare('spiffe://example.org/{{ .PodMeta.Name }}'))).toEqual([]);
  expect(await problemsOf(declare('spiffe://other.test/{{ .PodMeta.Name }}'))).toEqual([
    { reason: 'RenderFailed', pod: 'shop/a', message: expect.stringContaining('outside the trust domain') },
  ]);
  expect(await problemsOf(declare('spiffe://example.org/{{ .Nope'))).toEqual([
    { reason: 'Invalid', message: expect.stringContaining('spec.spiffeIDTemplate') },
  ]);
  const admin = declare('spiffe://example.org/x', { admin: true, podSelector: { matchLabels: { app: 'a' } } });
  expect(await problemsOf(admin)).toEqual([{ reason: 'NotAllowed', message: expect.stringContaining('allowAdminIdentities') }]);
  expect([...index.keys()]).toEqual([]);
});

test('reads pods whose kept part is too small', async () => {
  index.putPod('shop/a', testPod({ name: 'a', trim: NOTHING_KEPT }));
  whole = [testPod({ name: 'a', annotations: { team: 'a b' } })];
  expect(await problemsOf(declare('spiffe://example.org/{{ index .PodMeta.Annotations "team" }}'))).toEqual([
    expect.objectContaining({ reason: 'RenderFailed', pod: 'shop/a' }),
  ]);
});

test('says which older object would mask it', async () => {
  index.putPod('shop/a', testPod({ name: 'a' }));
  index.putDeclaration(
    clusterIdentity({ name: 'old', createdAtSeconds: 1, spec: { spiffeIDTemplate: 'spiffe://example.org/x' } }),
  );
  index.settle();
  expect(await problemsOf(declare('spiffe://example.org/x'))).toEqual([
    { reason: 'Masked', pod: 'shop/a', message: expect.stringContaining('ClusterWorkloadIdentity old') },
  ]);
});
