// Whoever has a SPIFFE ID has the power of it, whichever entry it comes from.
import { beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../../core/clock.ts';
import { precedenceOf } from '../../../../controller/identity/declaration-store.ts';
import { IdentityIndex } from '../../../../controller/identity/identity-index.ts';
import { Preview } from '../../../../controller/identity/preview.ts';
import { staticEntry } from '../../../../controller/identity/static-entry.ts';
import { parseStaticIdentity } from '../../../../crds/static-identity.ts';
import { clusterIdentity, teamIdentity, testNode, testPod, testSettings } from '../../../support/identity-world.ts';

const settings = testSettings({ allowAdminIdentities: true });
const TEAM = 'WorkloadIdentity/shop/team';
const PLATFORM = 'ClusterWorkloadIdentity//platform';

let index: IdentityIndex;

beforeEach(() => {
  index = new IdentityIndex(settings);
  index.putNamespace('shop', { name: 'shop', labels: {} });
  index.putNode('n1', testNode('n1'));
  index.putPod('shop/op', testPod({ name: 'op', labels: { app: 'op' } }));
  index.putPod('shop/web', testPod({ name: 'web', labels: { app: 'web' } }));
});

const select = (app: string) => ({ podSelector: { matchLabels: { app } } });
const team = (createdAtSeconds: number, app = 'web') =>
  teamIdentity('shop', { name: 'team', createdAtSeconds, spec: { pathTemplate: 'sa/op', ...select(app) } });
const platform = (power: object, createdAtSeconds = 5, name = 'platform') =>
  clusterIdentity({
    name,
    createdAtSeconds,
    spec: { spiffeIDTemplate: 'spiffe://example.org/ns/shop/sa/op', ...select('op'), ...power },
  });
const fixed = (power: object) =>
  parseStaticIdentity({
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'StaticIdentity',
    metadata: { name: 'fixed', uid: 'uid-fixed', creationTimestamp: '1970-01-01T00:00:03Z' },
    spec: {
      spiffeID: 'spiffe://example.org/ns/shop/sa/op',
      parentID: 'spiffe://example.org/agent/a',
      selectors: ['unix:uid:7'],
      ...power,
    },
  });
const putFixed = (power: object): void => {
  const declaration = fixed(power);
  index.putStatic(precedenceOf(declaration), staticEntry(declaration, settings));
};

/** The pods that have entries, each with its powers. */
function held(): readonly string[] {
  index.settle();
  return [...index.keys()]
    .map((key) => index.desired(key))
    .map((desired) => `${desired?.pod ?? ''}${desired?.entry.admin === true ? ' admin' : ''}`)
    .toSorted();
}

test.each([
  ['the powerful one first', true, 9],
  ['the other one first', false, 9],
  ['the other one first, and older', false, 1],
])('no other pod gets the ID of an admin workload: %s', (_, first, createdAtSeconds) => {
  if (first) index.putDeclaration(platform({ admin: true }));
  index.putDeclaration(team(createdAtSeconds));
  index.settle();
  if (!first) index.putDeclaration(platform({ admin: true }));
  expect(held()).toEqual(['shop/op admin']);
  expect(index.entryCount).toBe(1);
  expect(index.stats(TEAM)).toMatchObject({ podsSelected: 1, entriesToSet: 0, entriesMasked: 0, entriesReserved: 1 });
  const problem = {
    reason: 'IDReserved',
    pod: 'shop/web',
    message: expect.stringMatching(/^ClusterWorkloadIdentity platform gives spiffe:\/\/example.org\/ns\/shop\/sa\/op power/),
  };
  expect(index.problemsOf(TEAM, 3, 'IDReserved')).toEqual([problem]);
  expect(index.problemsOfPod('shop/web')).toEqual([problem]);
  expect(index.entriesOfPod('uid-web')).toEqual([]);
  index.removeDeclaration(PLATFORM);
  expect(held()).toEqual(['shop/web']);
  expect(index.stats(TEAM)).toMatchObject({ entriesToSet: 1, entriesReserved: 0 });
  expect(index.problemsOfPod('shop/web')).toEqual([]);
});

test('who loses an ID is told of', () => {
  index.putDeclaration(team(1));
  expect(held()).toEqual(['shop/web']);
  index.takeChangedKeys();
  index.takeChangedPods();
  index.takeChangedDeclarers();
  index.putDeclaration(platform({ admin: true }));
  index.settle();
  expect(index.takeChangedKeys().size).toBe(2);
  expect([...index.takeChangedPods()]).toContain('shop/web');
  expect([...index.takeChangedDeclarers()]).toContain(TEAM);
});

test('the same entry without the power does not mask it, however old', () => {
  index.putDeclaration(team(1, 'op'));
  index.putDeclaration(platform({ admin: true }));
  expect(held()).toEqual(['shop/op admin']);
});

test('of several powers the greatest alone holds', () => {
  index.putDeclaration(platform({ downstream: true }, 1, 'downstream'));
  index.putDeclaration(platform({ admin: true }, 5));
  expect(held()).toEqual(['shop/op admin']);
  expect(index.stats('ClusterWorkloadIdentity//downstream')).toMatchObject({ entriesReserved: 1 });
});

test('entries that are declared as they stand are held to it, and hold others to it', () => {
  putFixed({});
  expect(held()).toEqual(['']);
  index.putDeclaration(platform({ admin: true }));
  expect(held()).toEqual(['shop/op admin']);
  expect(index.staticProblemOf('StaticIdentity//fixed')?.reason).toBe('IDReserved');
  index.removeDeclaration(PLATFORM);
  index.putDeclaration(team(1));
  putFixed({ admin: true });
  expect(held()).toEqual([' admin']);
  putFixed({});
  expect(held()).toEqual(['', 'shop/web']);
});

test('a review says so before', async () => {
  const preview = new Preview({ index, settings, clock: systemClock, readWhole: () => Promise.resolve(undefined) });
  index.putDeclaration(platform({ admin: true }));
  index.settle();
  expect((await preview.dryRun(team(9))).problems).toMatchObject([{ reason: 'IDReserved', pod: 'shop/web' }]);
  expect((await preview.dryRun(team(1, 'op'))).problems).toMatchObject([{ reason: 'IDReserved', pod: 'shop/op' }]);
  // It takes away its own power.
  expect((await preview.dryRun(platform({}))).problems).toEqual([]);
  index.removeDeclaration(PLATFORM);
  index.putDeclaration(team(1));
  index.settle();
  expect((await preview.dryRun(platform({ admin: true }))).problems).toMatchObject([
    { reason: 'Displaces', pod: 'shop/op', message: expect.stringContaining('WorkloadIdentity shop/team') },
  ]);
});
