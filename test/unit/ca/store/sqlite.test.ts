import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { systemClock } from '../../../../core/clock.ts';
import { openStore } from '../../../../ca/store/open.ts';
import type { Store } from '../../../../ca/store/store.ts';
import { storeSuite } from '../../../support/store-suite.ts';

const folder = mkdtempSync(join(tmpdir(), 'countersign-store-'));
const paths = new WeakMap<Store, string>();
let count = 0;
afterAll(() => rmSync(folder, { recursive: true }));

storeSuite('SQLite', async () => ({
  async open(clock) {
    count += 1;
    const path = join(folder, `${count}.db`);
    const store = await openStore({ kind: 'sqlite', path }, { clock });
    paths.set(store, path);
    return store;
  },
  async reopen(store, clock) {
    await store[Symbol.asyncDispose]();
    return openStore({ kind: 'sqlite', path: paths.get(store) ?? '' }, { clock });
  },
}));

test('only the owner can read the database', async () => {
  const path = join(folder, 'private.db');
  const store = await openStore({ kind: 'sqlite', path }, { clock: systemClock });
  expect([path, `${path}-wal`].map((file) => statSync(file).mode & 0o777)).toEqual([0o600, 0o600]);
  await store[Symbol.asyncDispose]();
});
