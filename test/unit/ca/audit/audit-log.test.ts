import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AuditLog, type AuditLogOptions } from '../../../../ca/audit/audit-log.ts';
import type { AuditRecord } from '../../../../ca/audit/audit-record.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

let dir: string;
let clock: ManualClock;
const log = createLogger({ level: 'fatal', name: 'test' });
const file = (): string => join(dir, 'audit.jsonl');
const open = (options: Partial<AuditLogOptions> = {}): Promise<AuditLog> =>
  AuditLog.open({ file: file(), clock, log, ...options });
const lines = (path = file()): Record<string, unknown>[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>); // Sound: each line is an object that the log wrote.

function record(serial: string): AuditRecord {
  return {
    timeMs: Date.UTC(2026, 0, 1),
    kind: 'x509-svid',
    spiffeId: 'spiffe://example.org/web',
    caller: 'spiffe://example.org/spire/agent/x',
    entryId: 'entry-1',
    serial,
    digest: 'abc',
    authorityId: '00ff',
    expiresAtMs: Date.UTC(2026, 0, 1, 1),
  };
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'audit-'));
  clock = new ManualClock();
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Lets the log finish what it started, without waiting for a fixed time. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

describe('audit log', () => {
  it('has a record on the disk, for its owner alone, before append resolves', async () => {
    await using audit = await open();
    await audit.append([record('01')]);
    expect(lines()).toEqual([
      {
        time: '2026-01-01T00:00:00.000Z',
        kind: 'x509-svid',
        spiffeId: 'spiffe://example.org/web',
        caller: 'spiffe://example.org/spire/agent/x',
        entryId: 'entry-1',
        serial: '01',
        digest: 'abc',
        authorityId: '00ff',
        expiresAt: '2026-01-01T01:00:00.000Z',
      },
    ]);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect(audit.fault()).toBeUndefined();
  });

  it('keeps records whole, in order and each once when many write at the same time', async () => {
    await using audit = await open();
    const serials = Array.from({ length: 2000 }, (_, index) => index.toString(16));
    await Promise.all(serials.map((serial) => audit.append([record(serial), record(`${serial}-b`)])));
    expect(lines().map(({ serial }) => serial)).toEqual(serials.flatMap((serial) => [serial, `${serial}-b`]));
  });

  it('keeps one line for a record whose texts hold line feeds and quotes', async () => {
    await using audit = await open();
    await audit.append([{ ...record('01'), caller: 'a"\n{}\n' }]);
    expect(lines()).toMatchObject([{ caller: 'a"\n{}\n' }]);
  });

  it('goes on behind what is there and takes read permission from others', async () => {
    writeFileSync(file(), '{"serial":"00"}\n');
    chmodSync(file(), 0o644);
    await using audit = await open();
    await audit.append([record('01')]);
    expect(lines().map(({ serial }) => serial)).toEqual(['00', '01']);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
  });

  it.each([
    ['half a line', '{"serial":"x'],
    ['a line without its line feed', '{"serial":"x"}'],
    ['zeros', '\0\0\0\0'],
    ['zeros and a line feed', '\0\0\n'],
    ['half a line longer than the part read at once', `{"serial":"${'x'.repeat(200_000)}`],
  ])('cuts off %s that a kill left', async (_name, torn) => {
    writeFileSync(file(), `{"serial":"00"}\n{"serial":"01"}\n${torn}`);
    await using audit = await open();
    expect(readFileSync(file(), 'utf8')).toBe('{"serial":"00"}\n{"serial":"01"}\n');
    await audit.append([record('02')]);
    expect(lines().map(({ serial }) => serial)).toEqual(['00', '01', '02']);
  });

  it.each(['', '{"torn', '\n', '}'])('starts from nothing when the file holds only %j', async (content) => {
    writeFileSync(file(), content);
    await using audit = await open();
    expect(readFileSync(file(), 'utf8')).toBe('');
    await audit.append([record('01')]);
    expect(lines()).toHaveLength(1);
  });

  it('rotates by size and keeps as many files as it is told', async () => {
    await using audit = await open({ maxBytes: 1000, keepFiles: 2 });
    for (let index = 0; index < 20; index++) await audit.append([record(index.toString())]);
    const kept = [...lines(`${file()}.2`), ...lines(`${file()}.1`), ...lines()].map(({ serial }) => Number(serial));
    expect(kept.at(-1)).toBe(19);
    expect(kept).toEqual(Array.from({ length: kept.length }, (_, index) => 20 - kept.length + index));
    expect(statSync(`${file()}.1`).size).toBeGreaterThanOrEqual(1000);
    expect(existsSync(`${file()}.3`)).toBe(false);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
  });

  it('writes under its name again after somebody moved the file', async () => {
    await using audit = await open();
    await audit.append([record('01')]);
    renameSync(file(), `${file()}.moved`);
    clock.advance(1000);
    await audit.append([record('02')]);
    expect(lines().map(({ serial }) => serial)).toEqual(['02']);
    expect(lines(`${file()}.moved`).map(({ serial }) => serial)).toEqual(['01']);
  });

  it('cannot be opened where it cannot be written', async () => {
    await expect(open({ file: join(dir, 'absent', 'audit.jsonl') })).rejects.toMatchObject({ code: 'unavailable' });
    await expect(open({ file: dir })).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('refuses after it was closed, and closes once', async () => {
    const audit = await open();
    const last = audit.append([record('01')]);
    await audit[Symbol.asyncDispose]();
    await audit[Symbol.asyncDispose]();
    await last;
    await expect(audit.append([record('02')])).rejects.toMatchObject({ code: 'unavailable' });
    expect(lines()).toHaveLength(1);
  });
});

describe('an audit log on a full disk', () => {
  beforeEach(() => symlinkSync('/dev/full', file()));

  it('fails with unavailable and names the fault, without telling callers the path', async () => {
    await using audit = await open();
    const error: unknown = await audit.append([record('01')]).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'unavailable' });
    expect(String(error)).not.toContain(dir);
    expect(audit.fault()).toContain('ENOSPC');
    await expect(audit.append([record('02')])).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('works again with the next record once there is space', async () => {
    await using audit = await open();
    await expect(audit.append([record('01')])).rejects.toMatchObject({ code: 'unavailable' });
    unlinkSync(file());
    await audit.append([record('02')]);
    expect(audit.fault()).toBeUndefined();
    expect(lines().map(({ serial }) => serial)).toEqual(['02']);
  });

  it('finds out by itself that there is space again', async () => {
    await using audit = await open();
    await expect(audit.append([record('01')])).rejects.toMatchObject({ code: 'unavailable' });
    clock.advance(1000);
    await until(() => clock.timers === 1);
    expect(audit.fault()).toBeDefined();
    unlinkSync(file());
    clock.advance(1000);
    await until(() => audit.fault() === undefined);
    expect(lines()).toMatchObject([{ kind: 'resumed' }]);
    expect(clock.timers).toBe(0);
  });

  it('stops trying when it is closed', async () => {
    const audit = await open();
    await expect(audit.append([record('01')])).rejects.toMatchObject({ code: 'unavailable' });
    await audit[Symbol.asyncDispose]();
    expect(clock.timers).toBe(0);
  });
});

describe('an audit log whose disk hangs', () => {
  it('says so', async () => {
    await using audit = await open();
    const written = audit.append([record('01')]);
    clock.advance(6000);
    expect(audit.fault()).toContain('has not been written for 6 s');
    await written;
    expect(audit.fault()).toBeUndefined();
  });

  it('cuts off what a failed write left when it is opened again', async () => {
    await using audit = await open();
    await audit.append([record('01')]);
    appendFileSync(file(), '{"half');
    await using again = await open();
    await again.append([record('02')]);
    expect(lines().map(({ serial }) => serial)).toEqual(['01', '02']);
  });
});
