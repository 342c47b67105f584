import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, describe, expect, test } from 'vitest';
import { openStore } from '../../ca/store/open.ts';
import { systemClock } from '../../core/clock.ts';
import { idAt, newEntry } from '../support/entries.ts';
import { postgresMissing, startPostgres } from '../support/postgres.ts';
import { changesSince } from '../support/store-suite.ts';

const folder = mkdtempSync(join(tmpdir(), 'countersign-faults-'));
const writer = join(import.meta.dirname, '../support/store-writer.ts');
const isRoot = process.getuid?.() === 0;
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Written {
  readonly acknowledged: readonly string[];
  readonly refusal: string | undefined;
}

/** Runs the writer, through a shell when there is something to prepare, and kills it after so many acknowledgements. */
async function write(args: readonly string[], options: { shell?: string; killAfter?: number } = {}): Promise<Written> {
  const { shell = '', killAfter = Number.POSITIVE_INFINITY } = options;
  const command = `${shell} exec "$@"`;
  const child = spawn('sh', ['-c', command, 'sh', process.execPath, writer, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const acknowledged: string[] = [];
  let refusal: string | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    const [word, ...rest] = line.split(' ');
    if (word === 'wrote') acknowledged.push(rest[0] ?? '');
    else refusal = rest.join(' ');
    if (acknowledged.length === killAfter) child.kill('SIGKILL');
  }
  return { acknowledged, refusal };
}

/** The IDs of all entries in a SQLite store, which must come in complete pairs. */
async function entriesIn(path: string): Promise<ReadonlySet<string>> {
  await using store = await openStore({ kind: 'sqlite', path }, { clock: systemClock });
  return completePairs((await changesSince(store, 0)).map(({ name }) => name));
}

function completePairs(names: readonly string[]): ReadonlySet<string> {
  const found = new Set(names);
  for (const name of names) expect(found.has(name.endsWith('-a') ? name.replace(/a$/, 'b') : name.replace(/b$/, 'a'))).toBe(true);
  return found;
}

describe('killed while it writes', () => {
  test('SQLite has all that was acknowledged, each transaction whole', async () => {
    const path = join(folder, 'killed.db');
    const acknowledged: string[] = [];
    for (let round = 0; round < 12; round += 1) {
      const killAfter = 1 + Math.floor(Math.random() * 40);
      acknowledged.push(...(await write(['sqlite', path, `round${round}`], { killAfter })).acknowledged);
    }
    expect(acknowledged.length).toBeGreaterThanOrEqual(12);
    const present = await entriesIn(path);
    expect(acknowledged.filter((id) => !present.has(id))).toEqual([]);
  });

  const missing = postgresMissing();
  test.skipIf(missing !== undefined)(
    `PostgreSQL, killed itself, has it too${missing ? ` (skipped: ${missing})` : ''}`,
    async () => {
      await using cluster = await startPostgres({ durable: true });
      const url = cluster.createDatabase();
      const acknowledged: string[] = [];
      for (let round = 0; round < 3; round += 1) {
        const writing = write(['postgres', url, `round${round}`]);
        await expect
          .poll(() => Number(cluster.psql('SELECT count(*) FROM resource', 'test_1')), { timeout: 20_000 })
          .toBeGreaterThan(round * 400);
        cluster.crash();
        const { acknowledged: ids, refusal } = await writing;
        acknowledged.push(...ids);
        expect(refusal).toMatch(/^unavailable store unavailable: /);
        cluster.start();
      }
      const names = cluster.psql("SELECT name FROM resource WHERE kind = 'entry'", 'test_1').trim().split('\n');
      const present = completePairs(names);
      expect(acknowledged.filter((id) => !present.has(id))).toEqual([]);
    },
  );
});

describe('a disk that takes no more', () => {
  test('writes are refused as unavailable, what was acknowledged stays, nothing is half written', async () => {
    const path = join(folder, 'limited.db');
    // The limit is on the size of a file, in blocks of 512 or 1024 bytes; the signal must not end the process.
    const { acknowledged, refusal } = await write(['sqlite', path], { shell: "trap '' XFSZ; ulimit -f 800;" });
    expect(acknowledged.length).toBeGreaterThan(10);
    expect(refusal).toMatch(/^unavailable store unavailable: (reading or writing the disk failed|the disk is full)/);
    const present = await entriesIn(path);
    expect(acknowledged.filter((id) => !present.has(id))).toEqual([]);
  });

  const canMount =
    isRoot &&
    spawnSync('sh', ['-c', `mkdir -p ${folder}/m && mount -t tmpfs -o size=64k tmpfs ${folder}/m && umount ${folder}/m`])
      .status === 0;
  test.skipIf(!canMount)('a full file system is named (needs the right to mount)', async () => {
    const mounted = join(folder, 'full');
    mkdirSync(mounted);
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=600k', 'tmpfs', mounted]);
    try {
      const { acknowledged, refusal } = await write(['sqlite', join(mounted, 'store.db')]);
      expect(acknowledged.length).toBeGreaterThan(10);
      expect(refusal).toBe('unavailable store unavailable: the disk is full; free some space');
      const present = await entriesIn(join(mounted, 'store.db'));
      expect(acknowledged.filter((id) => !present.has(id))).toEqual([]);
    } finally {
      spawnSync('umount', [mounted]);
    }
  });

  test.skipIf(!canMount)('an open store goes on once there is space again (needs the right to mount)', async () => {
    const mounted = join(folder, 'freed');
    mkdirSync(mounted);
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', mounted]);
    try {
      await using store = await openStore({ kind: 'sqlite', path: join(mounted, 'store.db') }, { clock: systemClock });
      const create = (name: string) => store.mutate((tx) => tx.createEntry(newEntry({ id: name, spiffeId: idAt(`/${name}`) })));
      await create('before');
      spawnSync('sh', ['-c', `cat /dev/zero > ${mounted}/ballast`]);
      const acknowledged: string[] = [];
      const refusals: string[] = [];
      for (let count = 0; refusals.length === 0 && count < 1000; count += 1) {
        const made = create(`late-${count}`).then(({ value }) => acknowledged.push(value.entry.id));
        await made.catch((error: unknown) => refusals.push(error instanceof Error ? error.message : ''));
      }
      expect(refusals).toEqual(['store unavailable: the disk is full; free some space']);
      rmSync(join(mounted, 'ballast'));
      await create('after');
      expect((await changesSince(store, 0)).map(({ name }) => name)).toEqual(['before', ...acknowledged, 'after']);
    } finally {
      spawnSync('umount', [mounted]);
    }
  });
});

describe('a file that cannot be used is refused with what to do', () => {
  const open = (path: string) => openStore({ kind: 'sqlite', path }, { clock: systemClock });

  test('in a folder that does not exist', async () => {
    const opening = open(join(folder, 'missing', 'store.db'));
    await expect(opening).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('create its folder') });
  });

  test('that is no database', async () => {
    writeFileSync(join(folder, 'text.db'), 'something else'.repeat(1000));
    const opening = open(join(folder, 'text.db'));
    await expect(opening).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('not a database') });
  });

  test('that another process has open', async () => {
    const path = join(folder, 'shared.db');
    await using first = await open(path);
    await first.mutate((tx) => tx.createEntry(newEntry({ spiffeId: idAt('/first') })));
    const { refusal } = await write(['sqlite', path]);
    expect(refusal).toMatch(/^unavailable store unavailable: another process has the database open/);
  });

  test('that a newer release wrote', async () => {
    const path = join(folder, 'newer.db');
    await (await open(path))[Symbol.asyncDispose]();
    const database = new DatabaseSync(path);
    database.exec('INSERT INTO migration VALUES (1000)');
    database.close();
    await expect(open(path)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('newer release'),
    });
  });

  test('in a folder, or of a mode, that may not be written', async () => {
    const readOnly = join(folder, 'read-only');
    mkdirSync(readOnly);
    await (await open(join(readOnly, 'store.db')))[Symbol.asyncDispose]();
    chmodSync(join(readOnly, 'store.db'), 0o444);
    chmodSync(readOnly, 0o555);
    chmodSync(folder, 0o755);
    // Nobody may not write; root may write everything, so the writer gives that up.
    const shell = isRoot ? 'set -- setpriv --reuid 65534 --regid 65534 --clear-groups "$@";' : '';
    for (const name of ['store.db', 'new.db']) {
      const { refusal } = await write(['sqlite', join(readOnly, name)], { shell });
      expect(refusal).toMatch(/^unavailable store unavailable: .*(give the CA|permission)/);
    }
    expect(existsSync(join(readOnly, 'new.db'))).toBe(false);
    chmodSync(readOnly, 0o755);
  });
});
