import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const KILLS = 100;
const PROGRAM = join(import.meta.dirname, '../support/issue-until-killed.ts');

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'kills-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** What one life of the issuing process handed out before it was killed. */
interface Life {
  readonly authorityId: string;
  readonly serials: readonly string[];
}

/** Starts the process and kills it after it has issued so many; what it had written by then may end in the middle of a line. */
async function liveAndDie(afterSerials: number): Promise<Life> {
  const child = spawn(process.execPath, [PROGRAM, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
    if (lines.length > afterSerials) child.kill('SIGKILL');
  });
  await once(child, 'close');
  expect(child.signalCode).toBe('SIGKILL');
  const [ready = '', ...serials] = lines;
  return { authorityId: ready.replace('ready ', ''), serials };
}

/** The lines of all audit files, oldest first. */
async function auditLines(): Promise<readonly string[]> {
  const files = readdirSync(dir).filter((name) => name.startsWith('audit.jsonl'));
  const numbered = files.map((name) => ({ name, age: Number(name.split('.')[2] ?? 0) })).sort((a, b) => b.age - a.age);
  const lines: string[] = [];
  for (const { name } of numbered) {
    for await (const line of createInterface({ input: createReadStream(join(dir, name)) })) lines.push(line);
  }
  return lines;
}

describe(`${KILLS} kills at random moments`, () => {
  it(
    'lose no record of an SVID that was handed out, repeat no serial number and keep the authority',
    { timeout: 580_000 },
    async () => {
      const lives: Life[] = [];
      for (let kill = 0; kill < KILLS; kill++) lives.push(await liveAndDie(Math.floor(Math.random() * 120)));
      const handedOut = lives.flatMap(({ serials }) => serials);
      const lines = await auditLines();
      // The last life may have left a torn line: only opening the log again cuts it off.
      const torn = readFileSync(join(dir, 'audit.jsonl'), 'utf8').endsWith('\n') ? 0 : 1;
      const recorded = lines.slice(0, lines.length - torn).map((line) => (JSON.parse(line) as { serial: string }).serial); // Sound: the log writes objects with a serial.
      expect(new Set(recorded).size).toBe(recorded.length);
      expect(new Set(handedOut).size).toBe(handedOut.length);
      const known = new Set(recorded);
      expect(handedOut.filter((serial) => !known.has(serial))).toEqual([]);
      expect(handedOut.length).toBeGreaterThan(KILLS);
      expect(new Set(lives.map(({ authorityId }) => authorityId)).size).toBe(1);
    },
  );
});
