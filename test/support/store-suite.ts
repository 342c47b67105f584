import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Bundle, JwtAuthority, X509Authority } from '../../spiffe/bundle.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { isIdentityError } from '../../core/errors.ts';
import { systemClock } from '../../core/clock.ts';
import type { Clock } from '../../core/clock.ts';
import type { Authority } from '../../ca/model.ts';
import type { Change, Store } from '../../ca/store/store.ts';
import { exampleOrg, idAt, newAgent, newEntry, selectorsOf } from './entries.ts';
import { ManualClock } from './manual-clock.ts';
import { policyResource } from './policies.ts';

/** One kind of store as the suite uses it. */
export interface StoreUnderTest {
  /** Opens a new, empty store. */
  open(clock: Clock): Promise<Store>;
  /** Closes the store and opens it again. */
  reopen(store: Store, clock: Clock): Promise<Store>;
}

const other = parseTrustDomain('other.org');

/** What every store must do. */
export function storeSuite(name: string, setUp: () => Promise<StoreUnderTest>): void {
  describe(`store: ${name}`, () => {
    let stores: StoreUnderTest;
    let store: Store;
    const clock = new ManualClock();
    beforeAll(async () => {
      stores = await setUp();
      store = await stores.open(clock);
    });
    afterAll(async () => store[Symbol.asyncDispose]());

    test('an entry comes back as it was made, with an ID, a creation time and revision number 0', async () => {
      const entry = newEntry({
        spiffeId: idAt('/full'),
        selectors: selectorsOf('unix:uid:2', 'k8s:pod-label:a:b', 'unix:uid:2', 'unix:uid:1'),
        x509SvidTtlSeconds: 60,
        jwtSvidTtlSeconds: 70,
        admin: true,
        downstream: true,
        expiresAtSeconds: 4e9,
        dnsNames: ['b.example.org', 'a.example.org'],
        storeSvid: true,
        hint: 'internal',
        disableX509SvidPrefetch: true,
        jwtSvidIncludeJti: true,
        jwtClaims: { team: 'payments', nested: { list: [1, null, 'ü'] } },
      });
      const { value, revision } = await store.mutate((tx) => tx.createEntry(entry));
      const sorted = selectorsOf('k8s:pod-label:a:b', 'unix:uid:1', 'unix:uid:2');
      const times = { createdAtSeconds: Math.floor(clock.nowMs() / 1000), revisionNumber: 0 };
      const expected = { ...entry, ...times, id: value.entry.id, selectors: sorted };
      expect(value).toEqual({ kind: 'created', entry: expected });
      expect(value.entry.id).toMatch(/^[0-9a-f-]{36}$/);
      expect(await store.mutate((tx) => tx.getEntry(value.entry.id))).toEqual({ value: expected, revision });
      expect((await changesSince(store, revision - 1)).map((change) => change.value)).toEqual([expected]);
    });

    test('an entry of the same SPIFFE ID, parent and selectors is not made twice, in whatever order the selectors are', async () => {
      const entry = newEntry({ spiffeId: idAt('/similar'), selectors: selectorsOf('a:1', 'a:2') });
      const first = await store.mutate((tx) => tx.createEntry(entry));
      const second = await store.mutate((tx) => tx.createEntry({ ...entry, selectors: selectorsOf('a:2', 'a:1'), hint: 'x' }));
      expect(second.value).toEqual({ kind: 'exists', entry: first.value.entry });
      expect(second.revision).toBe(first.revision);
      const batch = await store.mutate((tx) =>
        tx.createEntries([entry, newEntry({ spiffeId: idAt('/twice') }), newEntry({ spiffeId: idAt('/twice') })]),
      );
      expect(batch.value.map((result) => (result instanceof Error ? 'error' : result.kind))).toEqual([
        'exists',
        'created',
        'exists',
      ]);
    });

    test('texts that only look alike when joined make different entries', async () => {
      const make = (...texts: string[]) => newEntry({ spiffeId: idAt('/joined'), selectors: selectorsOf(...texts) });
      const { value } = await store.mutate((tx) => tx.createEntries([make('a:b', 'c:d'), make('a:bc:d'), make('a:b3:c:d')]));
      expect(value.map((result) => (result instanceof Error ? 'error' : result.kind))).toEqual(['created', 'created', 'created']);
    });

    test('a taken entry ID, and a federated trust domain without a bundle, fail alone in a batch', async () => {
      await store.mutate((tx) => tx.createEntry(newEntry({ id: 'taken', spiffeId: idAt('/taken') })));
      const { value } = await store.mutate((tx) =>
        tx.createEntries([
          newEntry({ id: 'taken', spiffeId: idAt('/other') }),
          newEntry({ spiffeId: idAt('/federated'), federatesWith: [parseTrustDomain('nobody.org')] }),
          newEntry({ id: 'free', spiffeId: idAt('/free') }),
        ]),
      );
      expect(value).toMatchObject([{ code: 'already_exists' }, { code: 'failed_precondition' }, { kind: 'created' }]);
    });

    test('an update counts, keeps what it does not name, and its place in the order', async () => {
      const { value, revision } = await store.mutate((tx) =>
        tx.createEntry(newEntry({ spiffeId: idAt('/update'), hint: 'keep' })),
      );
      const change = { selectors: selectorsOf('unix:uid:9'), expiresAtSeconds: 5e9 };
      const updated = await store.mutate((tx) => tx.updateEntry(value.entry.id, change));
      expect(updated.value).toEqual({ ...value.entry, ...change, revisionNumber: 1 });
      expect(updated.revision).toBe(revision + 1);
      const [created] = await changesSince(store, revision);
      expect(created?.position).toBe((await changesSince(store, revision)).at(-1)?.position);
      await expect(store.mutate((tx) => tx.updateEntry('nobody', {}))).rejects.toMatchObject({ code: 'not_found' });
    });

    test('a deletion is a change, with what was deleted, and a new start does not see it', async () => {
      const { value } = await store.mutate((tx) => tx.createEntry(newEntry({ id: 'gone', spiffeId: idAt('/gone') })));
      const { revision } = await store.mutate((tx) => tx.deleteEntry('gone'));
      const [change] = await changesSince(store, revision - 1);
      expect(change).toMatchObject({ kind: 'entry', name: 'gone', revision, value: undefined, former: value.entry });
      expect((await changesSince(store, 0)).map(({ name }) => name)).not.toContain('gone');
      await expect(store.mutate((tx) => tx.deleteEntry('gone'))).rejects.toMatchObject({ code: 'not_found' });
      const again = await store.mutate((tx) => tx.createEntry(newEntry({ id: 'gone', spiffeId: idAt('/back') })));
      expect(again.value.kind).toBe('created');
      const formers = (await changesSince(store, revision - 1)).filter(({ superseded }) => superseded);
      expect(formers).toMatchObject([{ name: 'gone', revision, former: value.entry }]);
    });

    test('an update that moves an entry leaves what it was', async () => {
      await store.mutate((tx) => tx.createEntry(newEntry({ id: 'moving', spiffeId: idAt('/moving') })));
      const { revision } = await store.mutate((tx) => tx.updateEntry('moving', { parentId: idAt('/spire/agent/two') }));
      const changes = await changesSince(store, revision - 1);
      expect(changes.find(({ superseded }) => superseded)).toMatchObject({
        name: 'moving',
        former: { spiffeId: idAt('/moving') },
      });
      expect(changes.find(({ superseded }) => !superseded)?.value).toMatchObject({ parentId: idAt('/spire/agent/two') });
    });

    test('a transaction that fails leaves nothing, and one that only reads takes no revision', async () => {
      const before = await store.headRevision();
      const failed = store.mutate(async (tx) => {
        await tx.createEntry(newEntry({ id: 'never', spiffeId: idAt('/never') }));
        await tx.createJoinToken('never', 4e9);
        throw new RangeError('stop');
      });
      await expect(failed).rejects.toThrow(RangeError);
      const read = await store.mutate((tx) => tx.getEntry('never'));
      expect(read).toEqual({ value: undefined, revision: before });
      expect(await store.headRevision()).toBe(before);
      await expect(store.mutate((tx) => tx.redeemJoinToken('never'))).rejects.toMatchObject({ code: 'not_found' });
    });

    test('a transaction sees its own writes', async () => {
      const { value } = await store.mutate(async (tx) => {
        await tx.createEntry(newEntry({ id: 'own', spiffeId: idAt('/own') }));
        const similar = await tx.createEntry(newEntry({ spiffeId: idAt('/own') }));
        await tx.updateEntry('own', { hint: 'new' });
        const seen = await tx.getEntries(['own', 'unknown']);
        await tx.deleteEntry('own');
        return [similar.kind, seen[0]?.hint, seen[1], await tx.getEntry('own')];
      });
      expect(value).toEqual(['exists', 'new', undefined, undefined]);
    });

    test('agents are put, updated and deleted', async () => {
      const agent = newAgent({ selectors: selectorsOf('b:1', 'a:1') });
      const { value } = await store.mutate((tx) => tx.putAgent(agent));
      expect(value).toEqual({ ...agent, selectors: selectorsOf('a:1', 'b:1') });
      await store.mutate((tx) => tx.updateAgent(agent.id, { banned: true, serialNumber: '' }));
      expect((await store.mutate((tx) => tx.getAgent(agent.id))).value).toMatchObject({ banned: true, serialNumber: '' });
      await store.mutate((tx) => tx.deleteAgent(agent.id));
      for (const work of [store.mutate((tx) => tx.deleteAgent(agent.id)), store.mutate((tx) => tx.updateAgent(agent.id, {}))]) {
        await expect(work).rejects.toMatchObject({ code: 'not_found' });
      }
    });

    test('a join token works once, until it expires, and is nowhere in the store', async () => {
      const nowSeconds = Math.floor(clock.nowMs() / 1000);
      await store.mutate((tx) => tx.createJoinToken('token-1', nowSeconds + 10));
      await store.mutate((tx) => tx.createJoinToken('token-2', nowSeconds));
      const again = store.mutate((tx) => tx.createJoinToken('token-1', nowSeconds + 10));
      await expect(again).rejects.toMatchObject({ code: 'already_exists' });
      await store.mutate((tx) => tx.redeemJoinToken('token-1'));
      const used = store.mutate((tx) => tx.redeemJoinToken('token-1'));
      await expect(used).rejects.toMatchObject({ code: 'not_found' });
      await expect(used).rejects.not.toThrow(/token-1/);
      const expired = store.mutate((tx) => tx.redeemJoinToken('token-2'));
      await expect(expired).rejects.toMatchObject({ code: 'failed_precondition' });
    });

    test('of 200 attempts to redeem a join token at once, one succeeds', async () => {
      await store.mutate((tx) => tx.createJoinToken('contested', 4e9));
      const attempts = Array.from({ length: 200 }, () => store.mutate((tx) => tx.redeemJoinToken('contested')));
      const results = await Promise.allSettled(attempts);
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      const refusals = results.filter((result) => result.status === 'rejected');
      expect(refusals.every(({ reason }) => isIdentityError(reason, 'not_found'))).toBe(true);
    });

    test('authorities, bundles and relationships come back as they were', async () => {
      const authority: Authority = {
        kind: 'x509',
        id: 'abcd',
        publicBytes: Uint8Array.of(0, 255, 7),
        expiresAtSeconds: 4e9,
        tainted: true,
        replicaId: 'r1',
        upstreamSubjectKeyId: '',
      };
      const key = new JwtAuthority('kid', Uint8Array.of(1, 2), { expiresAtMs: 4e12, tainted: true });
      const bundle = new Bundle({
        trustDomain: other,
        x509Authorities: [new X509Authority(Uint8Array.of(9), { tainted: true }), new X509Authority(Uint8Array.of(8))],
        jwtAuthorities: [key],
        witAuthorities: [new JwtAuthority('wit', Uint8Array.of(3))],
        refreshHintSeconds: 60,
        sequenceNumber: 2n ** 60n,
      });
      const web = { trustDomain: other, bundleEndpointUrl: 'https://other.org/', profile: { kind: 'https_web' } } as const;
      const spiffe = { kind: 'https_spiffe', endpointSpiffeId: idAt('/endpoint') } as const;
      await store.mutate(async (tx) => {
        await tx.putAuthority(authority);
        await tx.createBundle(bundle);
        await tx.createRelationship(web);
      });
      const { value } = await store.mutate(async (tx) => ({
        authority: await tx.getAuthority('x509', 'abcd'),
        bundle: await tx.getBundle(other),
        relationship: await tx.getRelationship(other),
        updated: await tx.updateRelationship(other, { profile: spiffe }),
      }));
      expect(value).toEqual({ authority, bundle, relationship: web, updated: { ...web, profile: spiffe } });
      await expect(store.mutate((tx) => tx.createBundle(bundle))).rejects.toMatchObject({ code: 'already_exists' });
      await expect(store.mutate((tx) => tx.createRelationship(web))).rejects.toMatchObject({ code: 'already_exists' });
      await store.mutate((tx) => tx.deleteRelationship(other));
      await store.mutate((tx) => tx.deleteAuthority('x509', 'abcd'));
      await expect(store.mutate((tx) => tx.deleteRelationship(other))).rejects.toMatchObject({ code: 'not_found' });
      await expect(store.mutate((tx) => tx.deleteAuthority('x509', 'abcd'))).rejects.toMatchObject({ code: 'not_found' });
    });

    test('policies are put and deleted many at once; what is there as it is costs no revision', async () => {
      const [one, two] = [policyResource('AuthorizationPolicy/shop/one'), policyResource('ClusterAuthorizationPolicy//two')];
      const { revision } = await store.mutate((tx) => tx.putPolicies([one, two]));
      expect((await store.mutate((tx) => tx.putPolicies([two, one]))).revision).toBe(revision);
      expect((await store.mutate((tx) => tx.getPolicy(one))).value).toEqual(one);
      const changed = { ...one, generation: 2 };
      const second = await store.mutate((tx) => tx.putPolicies([changed, two]));
      expect(await changesSince(store, revision)).toMatchObject([
        { kind: 'policy', name: 'AuthorizationPolicy/shop/one', revision: second.revision, value: changed },
      ]);
      const never = policyResource('AuthorizationPolicy/shop/never');
      const gone = await store.mutate((tx) => tx.deletePolicies([changed, never]));
      expect(await changesSince(store, second.revision)).toMatchObject([{ value: undefined, former: changed }]);
      expect((await store.mutate((tx) => tx.deletePolicies([changed, never]))).revision).toBe(gone.revision);
      expect((await store.mutate((tx) => tx.getPolicy(one))).value).toBeUndefined();
    });

    test('progress of agents only goes on, is nobody else’s, and goes with the agent', async () => {
      const [here, gone] = [idAt('/spire/agent/progress'), idAt('/spire/agent/nobody')];
      await store.mutate((tx) => tx.putAgent(newAgent({ id: here })));
      const at = (revision: number, refused = {}) => [here, gone].map((agentId) => ({ agentId, revision, refused }));
      const { revision } = await store.mutate((tx) => tx.putProgress(at(7)));
      expect((await store.mutate((tx) => tx.putProgress(at(6)))).revision).toBe(revision);
      const [progress, ...others] = await changesSince(store, revision - 1);
      expect([progress, others]).toMatchObject([{ kind: 'progress', value: { agentId: here, revision: 7 } }, []]);
      const refused = { 'AuthorizationPolicy/shop/one': 7 };
      const second = await store.mutate((tx) => tx.putProgress(at(7, refused)));
      expect((await store.mutate((tx) => tx.putProgress(at(7, refused)))).revision).toBe(second.revision);
      expect(await changesSince(store, revision)).toMatchObject([{ value: { agentId: here, revision: 7, refused } }]);
      const end = await store.mutate((tx) => tx.deleteAgent(here));
      const ended = (await changesSince(store, end.revision - 1)).filter(({ kind }) => kind === 'progress');
      expect(ended).toMatchObject([{ value: undefined, former: { revision: 7 } }]);
    });

    test('an update that says another namespace of the workload leaves what it was', async () => {
      const fields = { id: 'renamed', spiffeId: idAt('/renamed'), selectors: selectorsOf('k8s:ns:before') };
      await store.mutate((tx) => tx.createEntry(newEntry(fields)));
      const { revision } = await store.mutate((tx) => tx.updateEntry('renamed', { workload: { namespace: 'after' } }));
      const formers = (await changesSince(store, revision - 1)).filter(({ superseded }) => superseded);
      expect(formers).toMatchObject([{ name: 'renamed', revision, former: { selectors: fields.selectors } }]);
    });

    test('deleting a bundle refuses, dissociates or deletes the entries that federate with it', async () => {
      const trustDomain = parseTrustDomain('federated.org');
      const bundle = new Bundle({ trustDomain });
      await store.mutate(async (tx) => {
        await tx.putBundle(bundle);
        await tx.createEntry(newEntry({ id: 'fed', spiffeId: idAt('/fed'), federatesWith: [trustDomain] }));
        await tx.createEntry(newEntry({ id: 'lookalike', spiffeId: idAt('/lookalike'), hint: '"federated.org"' }));
      });
      const refused = store.mutate((tx) => tx.deleteBundle(trustDomain, 'restrict'));
      await expect(refused).rejects.toMatchObject({ code: 'failed_precondition' });
      await store.mutate((tx) => tx.deleteBundle(trustDomain, 'dissociate'));
      expect((await store.mutate((tx) => tx.getEntry('fed'))).value).toMatchObject({ federatesWith: [], revisionNumber: 1 });
      await store.mutate(async (tx) => {
        await tx.putBundle(bundle);
        await tx.updateEntry('fed', { federatesWith: [trustDomain] });
      });
      await store.mutate((tx) => tx.deleteBundle(trustDomain, 'delete'));
      const { value } = await store.mutate((tx) => tx.getEntries(['fed', 'lookalike']));
      expect(value.map((entry) => entry?.id)).toEqual([undefined, 'lookalike']);
    });

    test('changes come in order of revision, in any number of batches', async () => {
      const start = await store.headRevision();
      for (const batch of [0, 1]) {
        const entries = Array.from({ length: 2500 }, (_, index) => newEntry({ spiffeId: idAt(`/many/${batch}/${index}`) }));
        await store.mutate((tx) => tx.createEntries(entries));
      }
      const changes = await changesSince(store, start);
      expect(changes).toHaveLength(5000);
      expect(new Set(changes.map(({ name }) => name)).size).toBe(5000);
      expect(changes.every((change, index) => index === 0 || isLater(change, changes[index - 1]))).toBe(true);
    });

    test('followers are told of each commit', async () => {
      const heads: number[] = [];
      const stop = new AbortController();
      const told = new Waiting();
      const following = store.follow((revision) => told.wake(heads.push(revision)), stop.signal);
      await told.until(() => heads.length > 0);
      const { revision } = await store.mutate((tx) => tx.createEntry(newEntry({ spiffeId: idAt('/followed') })));
      await told.until(() => heads.includes(revision));
      stop.abort();
      await following;
    });

    test('state and history survive a restart', async () => {
      const { feedId } = store;
      const head = await store.headRevision();
      const before = await changesSince(store, 0);
      store = await stores.reopen(store, clock);
      expect(store.feedId).toBe(feedId);
      expect(await store.headRevision()).toBe(head);
      expect(await changesSince(store, 0)).toEqual(before);
    });

    test('deletions are forgotten once they are old and far back, and never sooner', async () => {
      const fresh = await stores.open(clock);
      await fresh.mutate((tx) => tx.createEntry(newEntry({ id: 'a' })));
      await fresh.mutate((tx) => tx.deleteEntry('a'));
      await fresh.mutate((tx) => tx.createJoinToken('old', Math.floor(clock.nowMs() / 1000) + 1));
      const deletions = async () => (await changesSince(fresh, 1)).filter(({ former }) => former !== undefined).length;
      await fresh.prune({ keepMs: 1000, keepRevisions: 0 });
      expect(await deletions()).toBe(1);
      clock.advance(5000);
      await fresh.prune({ keepMs: 1000, keepRevisions: 100 });
      expect([await deletions(), await fresh.prunedRevision()]).toEqual([1, 0]);
      await fresh.prune({ keepMs: 1000, keepRevisions: 0 });
      expect([await deletions(), await fresh.prunedRevision()]).toEqual([0, 2]);
      const head = await fresh.headRevision();
      await fresh.prune({ keepMs: 1000, keepRevisions: 0 });
      expect(await fresh.headRevision()).toBe(head);
      await fresh[Symbol.asyncDispose]();
    });

    test('a stopped store refuses with unavailable', async () => {
      const stopped = await stores.open(systemClock);
      await stopped[Symbol.asyncDispose]();
      await stopped[Symbol.asyncDispose]();
      await expect(stopped.mutate((tx) => tx.getEntry('x'))).rejects.toMatchObject({ code: 'unavailable' });
      await expect(stopped.headRevision()).rejects.toMatchObject({ code: 'unavailable' });
      expect(exampleOrg.name).toBe('example.org');
    });
  });
}

/** All changes after a revision. */
export async function changesSince(store: Store, revision: number): Promise<readonly Change[]> {
  const all: Change[] = [];
  for await (const changes of store.readSince(revision)) all.push(...changes);
  return all;
}

function isLater(change: Change, before: Change | undefined): boolean {
  if (before === undefined) return false;
  return change.revision > before.revision || (change.revision === before.revision && change.position > before.position);
}

/** Waits for conditions that a callback may fulfil. */
export class Waiting {
  #wake: () => void = () => {};

  wake(_cause?: unknown): void {
    this.#wake();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
