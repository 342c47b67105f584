import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AccountNames, parseAccounts } from '../../../../agent/workload-attest/account-names.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'names-'));
});
afterEach(() => rm(folder, { recursive: true }));

test('reads passwd and group lines, the first of several names counts', () => {
  const names = parseAccounts(
    'root:x:0:0:root:/root:/bin/sh\n\n# note\n+nis:::\n-x:x:9:\ntoor:x:0:\nweb:x:33:a,b\nbad:x:y:\nbig:x:4294967294:',
  );
  expect([...names]).toEqual([
    [0, 'root'],
    [33, 'web'],
    [4294967294, 'big'],
  ]);
});

test('follows the file, at most once a second', async () => {
  const file = join(folder, 'passwd');
  const clock = new ManualClock();
  const names = new AccountNames(file, clock);
  expect(names.nameOf(7)).toBeUndefined();
  await writeFile(file, 'old:x:7:\n');
  expect(names.nameOf(7)).toBeUndefined();
  clock.advance(1000);
  expect(names.nameOf(7)).toBe('old');
  // The usual way to change it: a new file in the place of the old one, here of equal length.
  await writeFile(`${file}+`, 'new:x:7:\n');
  await rename(`${file}+`, file);
  expect(names.nameOf(7)).toBe('old');
  clock.advance(1000);
  expect(names.nameOf(7)).toBe('new');
  await rm(file);
  clock.advance(1000);
  expect(names.nameOf(7)).toBeUndefined();
});
