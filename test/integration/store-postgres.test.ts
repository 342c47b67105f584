import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { openStore } from '../../ca/store/open.ts';
import type { Store } from '../../ca/store/store.ts';
import { callKind, seen } from '../support/recorded-kinds.ts';
import { postgresMissing, startPostgres } from '../support/postgres.ts';
import type { PostgresCluster } from '../support/postgres.ts';
import { callStoreSuite } from '../support/call-store-suite.ts';
import { storeSuite } from '../support/store-suite.ts';
import type { StoreUnderTest } from '../support/store-suite.ts';

const missing = postgresMissing();

describe.skipIf(missing !== undefined)(`PostgreSQL${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let cluster: PostgresCluster;
  const urls = new WeakMap<Store, string>();
  beforeAll(async () => {
    cluster = await startPostgres();
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  const stores = async (): Promise<StoreUnderTest> => ({
    async open(clock) {
      const url = cluster.createDatabase();
      const store = await openStore({ kind: 'postgres', url }, { clock });
      urls.set(store, url);
      return store;
    },
    async reopen(store, clock) {
      await store[Symbol.asyncDispose]();
      return openStore({ kind: 'postgres', url: urls.get(store) ?? '' }, { clock });
    },
  });
  storeSuite('PostgreSQL', stores);
  callStoreSuite('PostgreSQL', stores);

  test('recorded calls of two replicas at the same time: none is lost, and a batch that goes to both counts once', async () => {
    const url = cluster.createDatabase();
    await using one = await openStore({ kind: 'postgres', url }, { clock: systemClock });
    await using other = await openStore({ kind: 'postgres', url }, { clock: systemClock });
    const nowMs = systemClock.nowMs();
    const calls = Array.from({ length: 150 }, (_, index) => seen(callKind({ path: `/${index}` }), 1, nowMs));
    const batch = (batchId: string, own = calls) => ({ agentId: 'a', batchId, calls: own });
    const writes = Array.from({ length: 10 }, (_, index) => [
      one.calls.add([batch(`one ${index}`), batch(`both ${index}`)], nowMs),
      other.calls.add([batch(`both ${index}`), batch(`other ${index}`, calls.toReversed())], nowMs),
    ]);
    const added = await Promise.all(writes.flat());
    expect(added.reduce((sum, { repeated }) => sum + repeated, 0)).toBe(10);
    const listed = (await Array.fromAsync(one.calls.list({ sinceMs: 0 }))).flat();
    expect(new Set(listed.map(({ count }) => count))).toEqual(new Set([30]));
    expect(listed).toHaveLength(150);
  });
});
