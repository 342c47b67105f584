import { createHash } from 'node:crypto';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ExecutableDigests } from '../../../../agent/workload-attest/executable-digest.ts';
import { type FileIdentity, openKernel } from '../../../../runtime/kernel.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'digest-'));
});
afterEach(() => rm(folder, { recursive: true }));

const content = Buffer.alloc(600_000, 'abc');
const digest = createHash('sha256').update(content).digest('hex');

async function file(name: string, bytes: Buffer): Promise<{ path: string; file: FileIdentity }> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return { path, file: openKernel().fileIdentity(path) };
}

test('hashes once, then knows', async () => {
  const digests = new ExecutableDigests();
  const { path, file: executable } = await file('a', content);
  const [first, second] = [digests.digestOf(executable, path), digests.digestOf(executable, path)];
  expect(first).toBe(second);
  expect(await first).toBe(digest);
  expect(digests.digestOf(executable, path)).toBe(digest);
});

test('a file that was replaced is not hashed in place of the one that was meant', async () => {
  const digests = new ExecutableDigests();
  const { path, file: executable } = await file('a', content);
  const other = await file('b', Buffer.alloc(600_000, 'xyz'));
  await rename(other.path, path);
  await expect(digests.digestOf(executable, path)).rejects.toMatchObject({ code: 'aborted' });
  expect(await digests.digestOf(openKernel().fileIdentity(path), path)).not.toBe(digest);
});

test('a file that was overwritten is hashed again', async () => {
  const digests = new ExecutableDigests();
  const { path, file: executable } = await file('a', content);
  expect(await digests.digestOf(executable, path)).toBe(digest);
  const changed = await file('a', Buffer.alloc(600_000, 'xyz'));
  expect(await digests.digestOf(changed.file, path)).toBe(
    createHash('sha256').update(Buffer.alloc(600_000, 'xyz')).digest('hex'),
  );
});

test('many at once all arrive, a missing one fails alone', async () => {
  const digests = new ExecutableDigests();
  const files = await Promise.all(Array.from({ length: 10 }, (_, index) => file(`f${index}`, Buffer.alloc(1000, index + 1))));
  const gone = await file('gone', content);
  await rm(gone.path);
  const results = await Promise.allSettled([gone, ...files].map(async (each) => digests.digestOf(each.file, each.path)));
  expect(results.map(({ status }) => status)).toEqual(['rejected', ...files.map(() => 'fulfilled')]);
  expect(new Set(results.map((each) => (each.status === 'fulfilled' ? each.value : ''))).size).toBe(11);
});

test('an empty file has the digest of nothing', async () => {
  const { path, file: executable } = await file('e', Buffer.alloc(0));
  expect(await new ExecutableDigests().digestOf(executable, path)).toBe(createHash('sha256').digest('hex'));
});
