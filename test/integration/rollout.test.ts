// The shell blocks of docs/rollout.md, run one after the other in a fresh checkout, as a new user would.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Checkout } from '../support/checkout.ts';
import { runToEnd, type Finished } from '../support/command.ts';

const GUIDE = readFileSync(join(import.meta.dirname, '../../docs/rollout.md'), 'utf8');

function blocksOf(language: string): readonly string[] {
  return [...GUIDE.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, block = '']) => block);
}

let checkout: Checkout;
let finished: Finished;
const sections: string[] = [];
beforeAll(async () => {
  checkout = new Checkout();
  const script = ['set -e', ...blocksOf('sh').map((block) => `echo ::block\n${block}`), ''].join('\n');
  writeFileSync(join(checkout.path, 'walk.sh'), script);
  finished = await runToEnd('bash', ['walk.sh'], { cwd: checkout.path });
  sections.push(...finished.stdout.split(/^::block\n/m).slice(1));
}, 120_000);
afterAll(() => checkout[Symbol.dispose]());

test('every block succeeds', () => {
  expect(finished).toMatchObject({ code: 0, stderr: '' });
  expect(sections).toHaveLength(7);
});

test('each step does what the guide says of it', () => {
  const [, lint, simulate, dryRun = '', enforced = '', imported = '', others = ''] = sections;
  expect(lint).toBe('');
  expect(simulate).toBe(`${blocksOf('text')[0]}this would cut somebody off\n`);
  expect(dryRun).toContain('allow default_audit\nwith all DryRun policies enforced: deny no_rule_matches\n');
  expect(dryRun).toContain('no recorded call would be decided otherwise\n');
  expect(enforced).toContain('2 passed, 0 failed\n');
  expect(imported).toMatch(
    /^no recorded call would be decided otherwise\nAuthorizationPolicy shop\/orders: .*: rule dropped: .*\n$/,
  );
  expect(others).toContain('name: orders\n  namespace: shop\n');
  expect(others).toContain('name: orders-intentions\n  namespace: shop\n');
});
