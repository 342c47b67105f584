// The shell blocks of docs/rollout.md, run one after the other in a fresh checkout, as a new user would.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Checkout } from '../support/checkout.ts';
import { runToEnd, type Finished } from '../support/command.ts';
import { freePort } from '../support/free-port.ts';

const GUIDE = readFileSync(join(import.meta.dirname, '../../docs/rollout.md'), 'utf8');
const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g;

function blocksOf(language: string): readonly string[] {
  return [...GUIDE.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, block = '']) => block);
}

const timeless = (text: string): string => text.replaceAll(TIME, 'TIME');

let checkout: Checkout;
let finished: Finished;
const sections: string[] = [];
beforeAll(async () => {
  checkout = new Checkout();
  // The jobs of the guide end with it, however it ends.
  const head = ['set -e', "trap 'kill $(jobs -p) 2> /dev/null; wait' EXIT"];
  const script = [...head, ...blocksOf('sh').map((block) => `echo ::block\n${block}`), ''].join('\n');
  writeFileSync(join(checkout.path, 'walk.sh'), script.replaceAll(':8081', `:${await freePort()}`));
  finished = await runToEnd('timeout', ['240', 'bash', 'walk.sh'], { cwd: checkout.path });
  sections.push(...finished.stdout.split(/^::block\n/m).slice(1));
}, 260_000);
afterAll(() => checkout[Symbol.dispose]());

test('every block succeeds', () => {
  const { code, stderr } = finished;
  expect({ code, stderr: code === 0 ? '' : stderr.slice(-3000) }).toEqual({ code: 0, stderr: '' });
  expect(sections).toHaveLength(blocksOf('sh').length);
});

test('what was decided is recorded, suggested and simulated', () => {
  const [, observed = '', suggested = '', simulated = '', offline = ''] = sections;
  expect(observed).toMatch(/^(allow default_audit\n){4}/);
  expect(observed.split('\n').filter((line) => line.startsWith('{'))).toHaveLength(2);
  expect(observed).toMatch(/"path":"\/orders\/\{id\}".*"count":3/);
  expect(suggested).toContain('name: orders-callers');
  // Nothing of lint after the policies.
  expect(suggested).not.toContain('FINDING');
  expect(timeless(simulated)).toBe(timeless(`${blocksOf('text')[0]}this would cut somebody off\n`));
  // There the policy before is the suggested one.
  expect(timeless(offline)).toBe(timeless(simulated));
});

test('a policy that is tried out is seen to deny, and enforced it does', () => {
  const [, , , , , dryRun = '', explained = '', enforced = '', tested = '', described = ''] = sections;
  expect(dryRun).toMatch(/^AuthorizationPolicy\/shop\/orders-callers set\nallow default_audit\n/);
  expect(dryRun).toMatch(/shop +orders-callers +ALLOW +DryRun +1\/1 +0 +1\n/);
  expect(explained).toContain('allow default_audit\nwith all DryRun policies enforced: deny no_rule_matches\n');
  expect(explained).toContain('no recorded call would be decided otherwise\n');
  expect(enforced).toMatch(/allow allowed_by_rule\ndeny no_rule_matches\n$/);
  expect(tested).toContain('2 passed, 0 failed\n');
  expect(described).toBe(`${blocksOf('text')[1]}look at these\n`);
});

test('what was imported says what it lost', () => {
  const [imported = '', others = ''] = sections.slice(10);
  expect(imported).toMatch(
    /^no recorded call would be decided otherwise\nAuthorizationPolicy shop\/orders: .*: rule dropped: .*\n$/,
  );
  expect(others).toContain('name: orders\n  namespace: shop\n');
  expect(others).toContain('name: orders-intentions\n  namespace: shop\n');
});
