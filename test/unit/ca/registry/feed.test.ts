import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startRegistry } from '../../../../ca/registry/feed.ts';
import type { RegistryFeed } from '../../../../ca/registry/feed.ts';
import { openStore } from '../../../../ca/store/open.ts';
import type { Store } from '../../../../ca/store/store.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { exampleOrg, idAt, newEntry, selectorsOf } from '../../../support/entries.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { policyResource } from '../../../support/policies.ts';

/** A store that can be taken away, and that forgets deletions when told to. */
class FailingStore implements Store {
  readonly #store: Store;
  isDown = false;

  constructor(store: Store) {
    this.#store = store;
  }

  get feedId(): string {
    return this.#store.feedId;
  }

  get calls(): Store['calls'] {
    return this.#store.calls;
  }

  mutate: Store['mutate'] = async (work) => (this.#check(), this.#store.mutate(work));
  headRevision: Store['headRevision'] = async () => (this.#check(), this.#store.headRevision());
  prunedRevision: Store['prunedRevision'] = async () => (this.#check(), this.#store.prunedRevision());
  prune: Store['prune'] = async (options) => (this.#check(), this.#store.prune(options));
  follow: Store['follow'] = (onHead, signal) => this.#store.follow(onHead, signal);

  async *readSince(...args: Parameters<Store['readSince']>): ReturnType<Store['readSince']> & AsyncGenerator<never> {
    this.#check();
    // The cast is sound: what is yielded is what the store yields.
    yield* this.#store.readSince(...args) as AsyncGenerator<never>;
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#store[Symbol.asyncDispose]();
  }

  #check(): void {
    if (this.isDown) throw new IdentityError('unavailable', 'store unavailable: taken away by the test');
  }
}

let clock: ManualClock;
let inner: Store;
let store: FailingStore;
let feed: RegistryFeed;
const outages: (string | undefined)[] = [];

beforeEach(async () => {
  clock = new ManualClock();
  inner = await openStore({ kind: 'sqlite', path: ':memory:' }, { clock });
  store = new FailingStore(inner);
  outages.length = 0;
  const onOutage = (error: Error | undefined): void => void outages.push(error?.message);
  feed = await startRegistry({ store, clock, trustDomain: exampleOrg, onOutage });
});
afterEach(async () => {
  await feed[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
});

const create = (id: string, fields = {}) =>
  inner.mutate((tx) => tx.createEntry(newEntry({ id, spiffeId: idAt(`/${id}`), ...fields })));

describe('an outage of the store', () => {
  test('leaves the registry readable, is reported, and is caught up with', async () => {
    await feed.registry.waitFor((await create('before')).revision);
    store.isDown = true;
    const { revision } = await create('during');
    await expect.poll(() => feed.outage).toBeDefined();
    expect(feed.registry.entries.get('before')).toBeDefined();
    expect(feed.registry.entries.get('during')).toBeUndefined();
    store.isDown = false;
    const caughtUp = feed.registry.waitFor(revision, { timeoutMs: 1e9 });
    await expect.poll(() => (clock.advance(5000), feed.registry.revision)).toBe(revision);
    await caughtUp;
    expect(feed.registry.entries.get('during')).toBeDefined();
    await expect.poll(() => feed.outage).toBeUndefined();
    expect(outages).toEqual(['store unavailable: taken away by the test', undefined]);
  });

  test('so long that deletions were forgotten meanwhile ends with everything read anew', async () => {
    await create('kept');
    await feed.registry.waitFor((await create('deleted')).revision);
    store.isDown = true;
    await inner.mutate((tx) => tx.deleteEntry('deleted'));
    await expect.poll(() => feed.outage).toBeDefined();
    clock.step(3_600_000);
    await inner.prune({ keepMs: 0, keepRevisions: 0 });
    const { revision } = await create('new');
    store.isDown = false;
    await expect.poll(() => (clock.advance(5000), feed.registry.revision)).toBe(revision);
    await expect.poll(() => feed.registry.entries.list().items.map(({ id }) => id)).toEqual(['kept', 'new']);
  });

  test('of policies too, and an agent that watches all the time learns what it has to forget', async () => {
    const keys = ['ClusterAuthorizationPolicy//deleted', 'ClusterAuthorizationPolicy//kept'];
    await create('former', { spiffeId: idAt('/former'), selectors: selectorsOf('k8s:ns:shop') });
    const { revision: before } = await inner.mutate((tx) => tx.putPolicies(keys.map((key) => policyResource(key))));
    await feed.registry.waitFor(before);
    const stop = new AbortController();
    const kinds = new Set(['policy', 'workload'] as const);
    const known = new Set<string>();
    const watching = (async () => {
      for await (const { authorization } of feed.registry.watchAgent(idAt('/spire/agent/one'), { kinds, signal: stop.signal })) {
        for (const { key } of authorization?.policies ?? []) known.add(key);
        for (const { spiffeId } of authorization?.sharedWorkloads ?? []) known.add(spiffeId);
        for (const name of [...(authorization?.removedPolicies ?? []), ...(authorization?.removedWorkloads ?? [])])
          known.delete(name);
      }
    })();
    await expect.poll(() => [...known].toSorted()).toEqual([...keys, 'spiffe://example.org/former']);
    store.isDown = true;
    await inner.mutate((tx) => tx.deletePolicies([{ kind: 'ClusterAuthorizationPolicy', namespace: '', name: 'deleted' }]));
    await inner.mutate((tx) => tx.deleteEntry('former'));
    await expect.poll(() => feed.outage).toBeDefined();
    clock.step(3_600_000);
    await inner.prune({ keepMs: 0, keepRevisions: 0 });
    const { revision } = await create('new');
    store.isDown = false;
    await expect.poll(() => (clock.advance(5000), feed.registry.revision)).toBe(revision);
    await expect.poll(() => (clock.advance(60), [...known])).toEqual(keys.slice(1));
    stop.abort();
    await watching;
  });
});

describe('waiting for a revision', () => {
  test('ends when it is reached, with the signal, or after the time limit', async () => {
    const { revision } = feed.registry;
    await feed.registry.waitFor(revision);
    const tooLong = feed.registry.waitFor(revision + 1);
    clock.advance(5000);
    await expect(tooLong).rejects.toMatchObject({ code: 'unavailable' });
    const stop = new AbortController();
    const stopped = feed.registry.waitFor(revision + 1, { signal: stop.signal });
    stop.abort(new RangeError('enough'));
    await expect(stopped).rejects.toThrow(RangeError);
  });
});

describe('expiry', () => {
  const nowSeconds = () => Math.floor(clock.nowMs() / 1000);

  test('an entry is deleted once it has expired, one that was prolonged is not, and nothing is done until then', async () => {
    await create('short', { expiresAtSeconds: nowSeconds() + 60 });
    await create('prolonged', { expiresAtSeconds: nowSeconds() + 60 });
    await create('for-ever');
    const { revision } = await inner.mutate((tx) => tx.updateEntry('prolonged', { expiresAtSeconds: nowSeconds() + 3600 }));
    await feed.registry.waitFor(revision);
    expect(feed.registry.entries.get('prolonged')?.expiresAtSeconds).toBe(nowSeconds() + 3600);
    expect(clock.nextTimerMs).toBeGreaterThan(60_000);
    clock.advance(60_999);
    expect(feed.registry.entries.count()).toBe(3);
    clock.advance(1);
    await expect.poll(() => feed.registry.entries.list().items.map(({ id }) => id)).toEqual(['prolonged', 'for-ever']);
  });

  test('an update of something else keeps the expiry', async () => {
    await create('short', { expiresAtSeconds: nowSeconds() + 60 });
    await feed.registry.waitFor((await inner.mutate((tx) => tx.updateEntry('short', { hint: 'x' }))).revision);
    clock.advance(61_000);
    await expect.poll(() => feed.registry.entries.count()).toBe(0);
  });

  test('while the store is down it is tried again', async () => {
    await feed.registry.waitFor((await create('short', { expiresAtSeconds: nowSeconds() + 60 })).revision);
    store.isDown = true;
    clock.advance(61_000);
    await expect.poll(() => clock.nextTimerMs).toBe(30_000);
    store.isDown = false;
    clock.advance(30_000);
    await expect.poll(() => feed.registry.entries.count()).toBe(0);
  });

  test('each hour, authorities that expired a day ago and join tokens go', async () => {
    const authority = { publicBytes: Uint8Array.of(1), tainted: false, replicaId: 'r', upstreamSubjectKeyId: '' };
    const { revision } = await inner.mutate(async (tx) => {
      await tx.putAuthority({ ...authority, kind: 'jwt', id: 'old', expiresAtSeconds: nowSeconds() - 86_400 });
      await tx.putAuthority({ ...authority, kind: 'jwt', id: 'new', expiresAtSeconds: nowSeconds() });
      await tx.createJoinToken('token', nowSeconds() + 1);
    });
    await feed.registry.waitFor(revision);
    expect([...feed.registry.bundle.value.jwtAuthorities.keys()]).toEqual(['old', 'new']);
    const before = feed.registry.bundle.value.sequenceNumber ?? 0n;
    clock.advance(3_600_000);
    await expect.poll(() => [...feed.registry.bundle.value.jwtAuthorities.keys()]).toEqual(['new']);
    expect(feed.registry.bundle.value.sequenceNumber).toBeGreaterThan(before);
    await expect(inner.mutate((tx) => tx.redeemJoinToken('token'))).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('the own bundle', () => {
  test('its sequence number never goes back, not even when all that it counted is forgotten', async () => {
    const authority = {
      publicBytes: Uint8Array.of(1),
      expiresAtSeconds: 0,
      tainted: false,
      replicaId: 'r',
      upstreamSubjectKeyId: '',
    };
    await inner.mutate((tx) => tx.putAuthority({ ...authority, kind: 'wit', id: 'gone' }));
    const { revision } = await inner.mutate((tx) => tx.deleteAuthority('wit', 'gone'));
    await feed.registry.waitFor(revision);
    expect(feed.registry.bundle.value.sequenceNumber).toBe(BigInt(revision));
    await create('later');
    clock.advance(1000);
    await inner.prune({ keepMs: 0, keepRevisions: 0 });
    await feed[Symbol.asyncDispose]();
    feed = await startRegistry({ store, clock, trustDomain: exampleOrg });
    expect(feed.registry.bundle.value.sequenceNumber).toBe(BigInt(revision));
  });
});
