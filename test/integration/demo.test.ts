// `npm run demo` as a newcomer sees it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { runToEnd } from '../support/command.ts';

const DEMO = join(import.meta.dirname, '../../cli/demo/main.ts');
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A place for temporary files of its own, to see what is left behind. */
function newTmp(): string {
  const folder = mkdtempSync(join(tmpdir(), 'demo-'));
  folders.push(folder);
  return folder;
}

describe('the demo', () => {
  test('rotates every service under traffic without a failed call, refuses the stranger, leaves nothing', async () => {
    const tmp = newTmp();
    const environment = { TMPDIR: tmp };
    const { code, stdout, stderr } = await runToEnd(process.execPath, [DEMO, '--seconds', '40'], { environment });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const service of ['web', 'orders', 'payments']) {
      expect(stdout).toMatch(new RegExp(`${service} +got spiffe://example.org/${service}, serial`));
      expect(stdout).toMatch(new RegExp(`${service} +rotated spiffe://example.org/${service}, serial`));
    }
    const [, calls = '0', failed, rotations = '0'] = /(\d+) calls, (\d+) failed, (\d+) rotations; stopping/.exec(stdout) ?? [];
    expect(Number(calls)).toBeGreaterThan(50);
    expect(failed).toBe('0');
    expect(Number(rotations)).toBeGreaterThanOrEqual(3);
    expect(stdout).toContain('the agent: Workload API: no identity issued');
    expect(stdout).toContain('web      asks payments and gets 403: The request is not allowed. Why, in full:');
    expect(stdout).toMatch(
      /deny no_rule_matches\n.*ALLOW shop\/payments\n.*rule 0 does not match\n.*from\[0\].serviceAccounts does not match\n/,
    );
    expect(stdout).toContain('the service: refused');
    expect(stdout).toMatch(/orders +refused a connection \(peer did not return a certificate\)/);
    expect(stdout).toContain('What to try next:');
    expect(readdirSync(tmp)).toEqual([]);
  });

  test('stops on an interrupt, with its children and its folder', async () => {
    const tmp = newTmp();
    const child = spawn(process.execPath, [DEMO, '--keep'], {
      env: { ...process.env, TMPDIR: tmp },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    for await (const chunk of child.stdout.setEncoding('utf8')) {
      const before = output;
      output += String(chunk);
      if (!before.includes('until Ctrl-C') && output.includes('until Ctrl-C')) child.kill('SIGINT');
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    expect(child.exitCode).toBe(0);
    expect(output).toContain('; stopping');
    expect(readdirSync(tmp)).toEqual([]);
  });
});
