import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { lockFolder } from '../../../runtime/folder-lock.ts';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'lock-'))));
afterEach(() => rmSync(folder, { recursive: true }));

const modeOf = (path: string): number => statSync(path).mode & 0o777;

describe('the lock on a data folder', () => {
  it('is for one holder at a time', async () => {
    const first = await lockFolder(join(folder, 'data'));
    await expect(lockFolder(join(folder, 'data'))).rejects.toMatchObject({ code: 'failed_precondition' });
    await first[Symbol.asyncDispose]();
    await using second = await lockFolder(join(folder, 'data'));
    expect(second).toBeDefined();
  });

  it('makes the folder private, but not those above it, which lead to public sockets too', async () => {
    await using lock = await lockFolder(join(folder, 'run', 'ca'));
    expect(lock).toBeDefined();
    expect(modeOf(join(folder, 'run', 'ca'))).toBe(0o700);
    expect(modeOf(join(folder, 'run')) & 0o055).toBe(0o055);
  });

  it('is unavailable where no folder can be made', async () => {
    await expect(lockFolder('/dev/null/data')).rejects.toMatchObject({ code: 'unavailable' });
  });
});
