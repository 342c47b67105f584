import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bundle } from '../../../../spiffe/bundle.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import type { AgentDelta } from '../../../../ca/registry/registry.ts';
import { idAt, newAgent, newEntry, selectorsOf } from '../../../support/entries.ts';
import { policyResource } from '../../../support/policies.ts';
import { RegistryRig } from '../../../support/registry-rig.ts';

let rig: RegistryRig;
let stop: AbortController;
const agent = idAt('/spire/agent/one');

beforeEach(async () => {
  rig = await RegistryRig.start();
  stop = new AbortController();
  await rig.mutate((tx) => tx.putAgent(newAgent({ id: agent, selectors: selectorsOf('s:1') })));
});
afterEach(async () => {
  stop.abort();
  await rig[Symbol.asyncDispose]();
});

const watch = (resume?: { feedId: string; revision: number }): AsyncIterator<AgentDelta> =>
  rig.registry.watchAgent(agent, { resume, signal: stop.signal })[Symbol.asyncIterator]();

async function next(deltas: AsyncIterator<AgentDelta>): Promise<AgentDelta> {
  const { value, done } = await deltas.next();
  if (done === true) throw new Error('the watch has ended');
  return value;
}

const create = (id: string, fields = {}) =>
  rig.mutate((tx) => tx.createEntry(newEntry({ id, spiffeId: idAt(`/${id}`), parentId: agent, ...fields })));
const ids = (delta: AgentDelta) => delta.put.map(({ entry }) => entry.id);
const bundleNames = (delta: AgentDelta) => delta.bundles.map(({ bundle }) => bundle.trustDomain.name);

describe('when a delta comes', () => {
  test('the first at once, later ones a few milliseconds after the first change of a burst', async () => {
    const deltas = watch();
    expect(await next(deltas)).toMatchObject({ snapshot: true, put: [], removed: [] });
    const later = deltas.next();
    await create('a');
    await create('b');
    let came = false;
    void later.then(() => (came = true));
    rig.clock.advance(4);
    await Promise.resolve();
    expect(came).toBe(false);
    rig.clock.advance(1);
    expect(ids((await later).value)).toEqual(['a', 'b']);
  });

  test('none for changes that concern others', async () => {
    const deltas = watch();
    await next(deltas);
    const later = deltas.next();
    await create('foreign', { parentId: idAt('/spire/agent/other') });
    rig.clock.advance(1000);
    await create('own');
    rig.clock.advance(5);
    expect(ids((await later).value)).toEqual(['own']);
  });

  test('none for policies and workloads, of which an agent that did not ask for them knows nothing', async () => {
    const deltas = watch();
    expect((await next(deltas)).authorization).toBeUndefined();
    const later = deltas.next();
    await rig.mutate((tx) => tx.putPolicies([policyResource('ClusterAuthorizationPolicy//all')]));
    await create('foreign', { parentId: idAt('/spire/agent/other'), selectors: selectorsOf('k8s:ns:shop') });
    rig.clock.advance(1000);
    await create('own');
    rig.clock.advance(5);
    const { value } = await later;
    expect([ids(value), value.authorization]).toEqual([['own'], undefined]);
  });

  test('one more when the rest of a revision was read, of which a policy was sent already', async () => {
    const kinds = new Set(['policy'] as const);
    const deltas = rig.registry.watchAgent(agent, { kinds, signal: stop.signal })[Symbol.asyncIterator]();
    await next(deltas);
    const policy = policyResource('ClusterAuthorizationPolicy//all');
    const revision = rig.registry.revision + 1;
    const change = { kind: 'policy', name: 'ClusterAuthorizationPolicy//all', revision, position: 99, value: policy } as const;
    rig.registry.apply([{ ...change, former: undefined, superseded: false }], revision - 1);
    rig.clock.advance(5);
    expect(await next(deltas)).toMatchObject({ revision: revision - 1, authorization: { policyRevision: revision } });
    const later = deltas.next();
    rig.registry.apply([], revision);
    rig.clock.advance(5);
    expect((await later).value).toMatchObject({ revision });
  });

  test('what is missed and found later, of a revision that was told already, is told too', async () => {
    const policy = policyResource('ClusterAuthorizationPolicy//all');
    await rig.mutate((tx) => tx.putPolicies([policy]));
    const kinds = new Set(['policy'] as const);
    const deltas = rig.registry.watchAgent(agent, { kinds, signal: stop.signal })[Symbol.asyncIterator]();
    await next(deltas);
    const { revision } = rig.registry;
    const gone = { kind: 'policy', name: 'ClusterAuthorizationPolicy//all', revision, position: 0, value: undefined } as const;
    const later = deltas.next();
    rig.registry.apply([{ ...gone, former: policy, superseded: false }], revision);
    rig.clock.advance(5);
    expect((await later).value).toMatchObject({ authorization: { removedPolicies: ['ClusterAuthorizationPolicy//all'] } });
  });

  test('now and then one with the revision alone, so that the agent can resume after days of nothing', async () => {
    const deltas = watch();
    await next(deltas);
    const later = deltas.next();
    await create('foreign', { parentId: idAt('/spire/agent/other') });
    rig.clock.advance(120_000);
    rig.clock.advance(5);
    const { revision } = rig.registry;
    expect((await later).value).toMatchObject({ revision, snapshot: false, put: [], removed: [], bundles: [] });
    expect(rig.clock.nextTimerMs).toBeGreaterThan(1_000_000);
  });

  test('it ends with its signal, also while it waits', async () => {
    const deltas = watch();
    await next(deltas);
    const later = deltas.next();
    stop.abort();
    expect((await later).done).toBe(true);
    expect(rig.registry.watchCount).toBe(0);
    expect((await watch().next()).done).toBe(true);
  });
});

describe('federated bundles', () => {
  const other = parseTrustDomain('other.org');
  const putBundle = (sequenceNumber: bigint) =>
    rig.mutate((tx) => tx.putBundle(new Bundle({ trustDomain: other, sequenceNumber })));

  test('come with the first entry that federates, on their own when they change, and go with the last', async () => {
    await putBundle(1n);
    const deltas = watch();
    expect(bundleNames(await next(deltas))).toEqual(['example.org']);
    await create('a', { federatesWith: [other] });
    await create('b', { federatesWith: [other] });
    rig.clock.advance(5);
    expect(bundleNames(await next(deltas))).toEqual(['other.org']);
    await putBundle(2n);
    rig.clock.advance(5);
    const changed = await next(deltas);
    expect([ids(changed), changed.bundles[0]?.bundle.sequenceNumber]).toEqual([[], 2n]);
    await rig.mutate((tx) => tx.deleteEntry('a'));
    rig.clock.advance(5);
    expect((await next(deltas)).removedBundles).toEqual([]);
    await rig.mutate((tx) => tx.updateEntry('b', { federatesWith: [] }));
    rig.clock.advance(5);
    expect((await next(deltas)).removedBundles).toEqual(['other.org']);
  });

  test('that nobody wants are not sent', async () => {
    const deltas = watch();
    await next(deltas);
    const later = deltas.next();
    await putBundle(1n);
    rig.clock.advance(5);
    await create('a');
    rig.clock.advance(5);
    expect(bundleNames((await later).value)).toEqual([]);
  });
});

describe('resuming', () => {
  test('beyond what is remembered is answered with a snapshot', async () => {
    await create('a');
    const { revision, feedId } = rig.registry;
    await create('b');
    await rig.mutate((tx) => tx.deleteEntry('a'));
    rig.registry.forgetHistory(revision + 1);
    expect(await next(watch({ feedId, revision }))).toMatchObject({ snapshot: true });
    expect(await next(watch({ feedId, revision: revision + 1 }))).toMatchObject({ snapshot: false, removed: ['a'] });
  });

  test('a reader that slept through very many changes gets them as one gap, not as a queue', async () => {
    const names = Array.from({ length: 5000 }, (_, index) => `e${index}`);
    await rig.mutate((tx) => tx.createEntries(names.map((id) => newEntry({ id, spiffeId: idAt(`/${id}`), parentId: agent }))));
    const deltas = watch();
    expect((await next(deltas)).put).toHaveLength(5000);
    for (let round = 0; round < 5; round += 1) {
      await rig.mutate(async (tx) => {
        await tx.getEntries(names);
        for (const id of names) await tx.updateEntry(id, { hint: `${round}` });
      });
    }
    await rig.mutate((tx) => tx.deleteEntry('e7'));
    rig.clock.advance(5);
    const delta = await next(deltas);
    expect(delta).toMatchObject({ snapshot: false, removed: ['e7'] });
    expect(delta.put).toHaveLength(4999);
    expect(delta.put.every(({ entry }) => entry.hint === '4')).toBe(true);
  });
});
