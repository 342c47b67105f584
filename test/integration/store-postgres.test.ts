import { afterAll, beforeAll, describe } from 'vitest';
import { openStore } from '../../ca/store/open.ts';
import type { Store } from '../../ca/store/store.ts';
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
});
