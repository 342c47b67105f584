import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { startRegistry } from '../../ca/registry/feed.ts';
import { openStore } from '../../ca/store/open.ts';
import type { Store } from '../../ca/store/store.ts';
import { systemClock } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import { exampleOrg, idAt, newAgent, newEntry } from '../support/entries.ts';
import { postgresMissing, startPostgres } from '../support/postgres.ts';
import type { PostgresCluster } from '../support/postgres.ts';
import { Waiting, changesSince } from '../support/store-suite.ts';

const missing = postgresMissing();
const needed = missing === undefined ? '' : ` (skipped: ${missing})`;

describe.skipIf(missing !== undefined)(`replicas on one PostgreSQL${needed}`, () => {
  let cluster: PostgresCluster;
  beforeAll(async () => {
    cluster = await startPostgres();
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());
  const open = (url: string): Promise<Store> => openStore({ kind: 'postgres', url }, { clock: systemClock });

  /** So many replicas with their registries, closed at the end of the test. */
  async function startReplicas(count: number, url = cluster.createDatabase()) {
    const resources = new AsyncDisposableStack();
    const replicas = [];
    for (let index = 0; index < count; index += 1) {
      const store = resources.use(await open(url));
      const feed = resources.use(await startRegistry({ store, trustDomain: exampleOrg, clock: systemClock }));
      replicas.push({ store, feed, registry: feed.registry });
    }
    return { replicas, url, [Symbol.asyncDispose]: () => resources.disposeAsync() };
  }

  test('eight that start at once make one schema and one feed', async () => {
    const url = cluster.createDatabase();
    const stores = await Promise.all(Array.from({ length: 8 }, () => open(url)));
    expect(new Set(stores.map(({ feedId }) => feedId)).size).toBe(1);
    expect(await stores[0]?.headRevision()).toBe(0);
    await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
  });

  test('a transaction that began first is first in the feed, however long it takes', async () => {
    await using rig = await startReplicas(2);
    const [a, b] = rig.replicas;
    const gate = Promise.withResolvers<void>();
    const began = Promise.withResolvers<void>();
    const slow = a?.store.mutate(async (tx) => {
      began.resolve();
      await gate.promise;
      return tx.createEntry(newEntry({ spiffeId: idAt('/slow') }));
    });
    await began.promise;
    let isDone = false;
    const fast = b?.store.mutate((tx) => tx.createEntry(newEntry({ spiffeId: idAt('/fast') }))).finally(() => (isDone = true));
    // A read that can only come back after the other transaction had its chance.
    for (let reads = 0; reads < 20; reads += 1) expect(await b?.store.headRevision()).toBe(0);
    expect(isDone).toBe(false);
    gate.resolve();
    expect([(await slow)?.revision, (await fast)?.revision]).toEqual([1, 2]);
  });

  test('who reads on from each revision it has seen misses nothing, with transactions that fail and linger between', async () => {
    await using rig = await startReplicas(3);
    const [reader] = rig.replicas;
    if (reader === undefined) throw new Error('no replica');
    const seen = new Set<string>();
    let revision = 0;
    const stop = new AbortController();
    const told = new Waiting();
    let head = 0;
    const following = reader.store.follow((at) => told.wake((head = Math.max(head, at))), stop.signal);
    const reading = (async () => {
      for (;;) {
        await told.until(() => head > revision || stop.signal.aborted);
        if (stop.signal.aborted) return;
        for (const change of await changesSince(reader.store, revision)) {
          expect(change.revision).toBeGreaterThan(revision - 1);
          seen.add(change.name);
          revision = Math.max(revision, change.revision);
        }
      }
    })();
    const write = async (store: Store, name: string, index: number) => {
      await store.mutate(async (tx) => {
        await tx.createEntry(newEntry({ id: `${name}-${index}`, spiffeId: idAt(`/${name}/${index}`) }));
        if (index % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
        if (index % 5 === 0) throw new RangeError('given up');
      });
    };
    const writes = rig.replicas.flatMap(({ store }, replica) =>
      Array.from({ length: 150 }, (_, index) => write(store, `r${replica}`, index)),
    );
    const results = await Promise.allSettled(writes);
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(3 * 120);
    const last = await reader.store.headRevision();
    expect(last).toBe(3 * 120);
    await expect.poll(() => revision).toBe(last);
    stop.abort();
    told.wake();
    await Promise.all([following, reading]);
    const all = await changesSince(reader.store, 0);
    expect(all.filter(({ name }) => !seen.has(name))).toEqual([]);
    expect(all.map((change) => change.revision)).toEqual(Array.from({ length: last }, (_, index) => index + 1));
  });

  test('what one replica writes is in the registry of another within milliseconds', async () => {
    await using rig = await startReplicas(2);
    const [a, b] = rig.replicas;
    if (a === undefined || b === undefined) throw new Error('no replicas');
    await a.store.mutate((tx) => tx.putAgent(newAgent({ id: idAt('/spire/agent/one') })));
    const delaysMs: number[] = [];
    for (let index = 0; index < 100; index += 1) {
      const { revision } = await a.store.mutate((tx) => tx.createEntry(newEntry({ spiffeId: idAt(`/latency/${index}`) })));
      const startMs = performance.now();
      await b.registry.waitFor(revision);
      delaysMs.push(performance.now() - startMs);
    }
    delaysMs.sort((x, y) => x - y);
    const [median = 0, worst = 0] = [delaysMs[50], delaysMs[98]];
    console.log(`replica to replica after commit: median ${median.toFixed(1)} ms, 99th percentile ${worst.toFixed(1)} ms`);
    expect(median).toBeLessThan(50);
    expect(b.registry.authorizedEntries(idAt('/spire/agent/one'))).toHaveLength(100);
  });

  test('of 200 attempts at three replicas to redeem one join token, one succeeds', async () => {
    await using rig = await startReplicas(3);
    await rig.replicas[0]?.store.mutate((tx) => tx.createJoinToken('contested', 4e9));
    const attempts = Array.from({ length: 200 }, async (_, index) =>
      rig.replicas[index % 3]?.store.mutate((tx) => tx.redeemJoinToken('contested')),
    );
    const results = await Promise.allSettled(attempts);
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const refusals = results.filter((result) => result.status === 'rejected');
    expect(refusals.every(({ reason }) => isIdentityError(reason, 'not_found'))).toBe(true);
  });

  test('a lost listening connection is made again, and what happened meanwhile is read', async () => {
    await using rig = await startReplicas(2);
    const [a, b] = rig.replicas;
    const database = new URL(rig.url).pathname.slice(1);
    for (let round = 0; round < 3; round += 1) {
      cluster.psql(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${database}' AND query LIKE 'SELECT head_revision%'`,
      );
      const { revision = 0 } =
        (await a?.store.mutate((tx) => tx.createEntry(newEntry({ spiffeId: idAt(`/lost/${round}`) })))) ?? {};
      await b?.registry.waitFor(revision);
    }
    expect(b?.registry.entries.count()).toBe(3);
  });

  test('while the server is down the registry answers and changes fail fast; then all catch up', async () => {
    await using own = await startPostgres();
    await using rig = await startReplicas(2, own.createDatabase());
    const [a, b] = rig.replicas;
    if (a === undefined || b === undefined) throw new Error('no replicas');
    const first = await a.store.mutate((tx) => tx.createEntry(newEntry({ id: 'before', spiffeId: idAt('/before') })));
    await b.registry.waitFor(first.revision);
    expect([a.feed.outage, b.feed.outage]).toEqual([undefined, undefined]);
    own.crash();
    const startMs = performance.now();
    for (const { store } of [a, b]) {
      const change = store.mutate((tx) => tx.createEntry(newEntry({ spiffeId: idAt('/during') })));
      await expect(change).rejects.toMatchObject({ code: 'unavailable', retryAfterMs: expect.any(Number) });
    }
    expect(performance.now() - startMs).toBeLessThan(2000);
    await expect.poll(() => b.feed.outage).toMatchObject({ code: 'unavailable' });
    expect(b.registry.entries.get('before')).toEqual(first.value.entry);
    expect(b.registry.authorizedEntries(idAt('/spire/agent/one'))).toHaveLength(1);
    own.start();
    // A store that was just out of reach is left alone for half a second.
    const create = () => a.store.mutate((tx) => tx.createEntry(newEntry({ id: 'after', spiffeId: idAt('/after') })));
    const { revision } = await vi.waitFor(create, { timeout: 10_000, interval: 100 });
    await b.registry.waitFor(revision, { timeoutMs: 20_000 });
    expect(b.registry.entries.get('after')).toBeDefined();
    await expect.poll(() => [a.feed.outage, b.feed.outage]).toEqual([undefined, undefined]);
  });

  test('a batch costs few round trips, whatever its size', async () => {
    await using rig = await startReplicas(1);
    const { store } = rig.replicas[0] ?? {};
    const entries = (from: number) =>
      Array.from({ length: 100 }, (_, index) => newEntry({ spiffeId: idAt(`/batch/${from + index}`) }));
    const startMs = performance.now();
    for (let batch = 0; batch < 50; batch += 1) await store?.mutate((tx) => tx.createEntries(entries(batch * 100)));
    const perSecond = 5000 / ((performance.now() - startMs) / 1000);
    console.log(`PostgreSQL, batches of 100: ${Math.round(perSecond)} entries/s`);
    expect(perSecond).toBeGreaterThan(1000);
  });
});
