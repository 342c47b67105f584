// The shell blocks of the README and of the guides, run one after the other in a fresh checkout, as a new user would.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Checkout } from '../support/checkout.ts';
import { runToEnd, type Finished } from '../support/command.ts';
import { freePort } from '../support/free-port.ts';

const README = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
const GUIDE = readFileSync(join(import.meta.dirname, '../../docs/operating.md'), 'utf8');

/** The fenced blocks of a language, in order. */
function blocksOf(markdown: string, language: string): readonly string[] {
  return [...markdown.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, block = '']) => block);
}

const PORTS = ['8081', '8080', '9980'];

describe('the README', () => {
  let checkout: Checkout;
  let finished: Finished;
  const sections: string[] = [];
  const readme = blocksOf(README, 'sh');
  const guide = blocksOf(GUIDE, 'sh');
  beforeAll(async () => {
    checkout = new Checkout();
    const blocks = [...readme, ...guide].map((block, index) => `echo "::block ${index}"\n${block}`);
    // Job control, as a terminal has it: the README stops its jobs by number.
    let script = ['set -em', ...blocks, 'echo ::stop', 'kill %1 %2 || true', 'wait || true', 'echo ::end', ''].join('\n');
    for (const port of PORTS) script = script.replaceAll(`:${port}`, `:${await freePort()}`);
    writeFileSync(join(checkout.path, 'walk.sh'), script);
    finished = await runToEnd('bash', ['walk.sh'], { cwd: checkout.path });
    sections.push(...finished.stdout.split(/^::(?:block \d+|stop)\n/m).slice(1));
  }, 300_000);
  afterAll(() => checkout[Symbol.dispose]());

  test('every block succeeds, and the jobs stop', () => {
    const { code, stdout, stderr } = finished;
    // What it wrote last says why, where it did not succeed.
    expect({ code, end: stdout.slice(-6), stderr: code === 0 ? '' : stderr.slice(-2000) }).toEqual({
      code: 0,
      end: '::end\n',
      stderr: '',
    });
    expect(sections).toHaveLength(readme.length + guide.length + 1);
  });

  test('the blocks do what the text around them says', () => {
    const [start = '', enrol = '', use = '', authorize = ''] = sections;
    expect(start).toContain('serving');
    expect(enrol).toMatch(/wrote a join token to try\/token[^]*serving/);
    for (const text of ['spiffe://example.org/me', 'valid     true', 'It gets these identities:', 'notAfter=']) {
      expect(use).toContain(text);
    }
    expect(authorize).toMatch(/would[^]*ClusterAuthorizationPolicy\/+readers set[^]*deny no_rule_matches/);
  });

  test('names only files that exist', () => {
    const links = [...README.matchAll(/\]\(((?!https?:)[^)#]+)\)/g)].map(([, target = '']) => target);
    expect(links.length).toBeGreaterThan(3);
    expect(links.filter((target) => !existsSync(join(checkout.path, target)))).toEqual([]);
  });
});
