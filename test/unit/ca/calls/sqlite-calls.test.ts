import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { openStore } from '../../../../ca/store/open.ts';
import { callStoreSuite } from '../../../support/call-store-suite.ts';

const folder = mkdtempSync(join(tmpdir(), 'countersign-calls-'));
const path = join(folder, 'store.db');
afterAll(() => rmSync(folder, { recursive: true }));

callStoreSuite('SQLite', async () => ({
  open: (clock) => openStore({ kind: 'sqlite', path }, { clock }),
  async reopen(store, clock) {
    await store[Symbol.asyncDispose]();
    return openStore({ kind: 'sqlite', path }, { clock });
  },
}));
