import { afterAll, describe } from 'vitest';
import { openStore } from '../../ca/store/open.ts';
import type { Store } from '../../ca/store/store.ts';
import { postgresMissing, startPostgres } from '../support/postgres.ts';
import { storeSuite } from '../support/store-suite.ts';

const missing = postgresMissing();

describe.skipIf(missing !== undefined)(
  `store on PostgreSQL${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  async () => {
    if (missing !== undefined) return;
    const cluster = await startPostgres();
    const urls = new WeakMap<Store, string>();
    afterAll(async () => cluster[Symbol.asyncDispose]());

    storeSuite('PostgreSQL', async () => ({
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
    }));
  },
);
