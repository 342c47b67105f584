import { expect, test } from 'vitest';
import { decode } from '../../../../core/decode.ts';
import { policyStatus } from '../../../../policy/resources/policy-status.ts';
import { PolicyWorld, type TestPolicy } from '../../../support/policy-world.ts';

const WEB: TestPolicy = { name: 'orders', spec: { rules: [{ from: [{ serviceAccounts: ['web'] }] }] } };
const KEY = 'AuthorizationPolicy/shop/orders';

test('a status follows the nodes', async () => {
  await using world = await PolicyWorld.create();
  world.ca.tell({ concerned: 3, programmed: 1 });
  world.put(WEB);
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Programmed')).toBe('False Programming');
  expect(world.condition(KEY, 'Accepted')).toBe('True Valid');
  expect(world.condition(KEY, 'Ready')).toBe('False Programming');
  expect(JSON.stringify(world.status(KEY))).toContain('1 of 3 nodes enforce it');
  world.ca.tell({ concerned: 3, programmed: 3 }, 7n);
  await expect.poll(() => world.condition(KEY, 'Ready'), { timeout: 1_000 }).toBe('True Programmed');
  expect(world.status(KEY)).toMatchObject({
    observedGeneration: 1,
    nodesConcerned: 3,
    nodesProgrammed: 3,
    hits: 7,
    wouldDenyHits: 0,
  });
  expect(() => decode(policyStatus.decoder, world.status(KEY))).not.toThrow();
});

test('nodes that could not put it in force are named, with what one of them said', async () => {
  await using world = await PolicyWorld.create();
  world.ca.tell({ concerned: 3, programmed: 2 });
  world.put(WEB);
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Programmed')).toBe('False Programming');
  const refusal = { agentId: 'spiffe://example.org/spire/agent/old', reason: 'spec.rules[0].form: unknown field' };
  world.ca.tell({ concerned: 3, programmed: 2, refused: 1, refusal });
  await expect.poll(() => world.condition(KEY, 'Ready')).toBe('False Refused');
  const text = JSON.stringify(world.status(KEY));
  expect(text).toContain(
    '2 of 3 nodes enforce it; 1 could not read it (spiffe://example.org/spire/agent/old: spec.rules[0].form',
  );
  expect(() => decode(policyStatus.decoder, world.status(KEY))).not.toThrow();
  world.ca.tell({ concerned: 3, programmed: 3 });
  await expect.poll(() => world.condition(KEY, 'Ready'), { timeout: 1_000 }).toBe('True Programmed');
});

test('figures alone are not written all the time', async () => {
  await using world = await PolicyWorld.create();
  world.ca.tell({ concerned: 1, programmed: 1 });
  world.put(WEB);
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Ready')).toBe('True Programmed');
  const writes = world.statuses.get(KEY)?.length ?? 0;
  for (let hits = 1n; hits <= 5n; hits += 1n) world.ca.tell({ concerned: 1, programmed: 1 }, hits);
  world.put({ name: 'later' });
  await expect.poll(() => world.condition('AuthorizationPolicy/shop/later', 'Ready')).toBe('True Programmed');
  expect(world.statuses.get(KEY)).toHaveLength(writes);
});

test('another term does not write again what is there', async () => {
  await using world = await PolicyWorld.create();
  world.put(WEB);
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Ready')).toBe('True NoNodes');
  const all = world.statuses.get(KEY) ?? [];
  // Nothing was said before it was known.
  expect(all).toHaveLength(1);
});

test('what cannot be compiled is said where it is written, and stays in force', async () => {
  await using world = await PolicyWorld.create();
  world.put({ ...WEB, spec: { rules: [{ when: 'request.path ==' }, { to: [{ paths: [{ regex: '(' }] }] }] } });
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Accepted')).toBe('False DoesNotCompile');
  const text = JSON.stringify(world.status(KEY));
  expect(text).toContain('spec.rules[0].when: the condition is no CEL');
  expect(text).toContain('spec.rules[1].to[0]');
  expect(world.ca.keys).toEqual([KEY]);
});

test('what connections do not show is said', async () => {
  await using world = await PolicyWorld.create();
  world.put({ ...WEB, spec: { rules: [{ to: [{ paths: [{ exact: '/a' }] }] }] } });
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Accepted')).toBe('True Valid');
  expect(JSON.stringify(world.status(KEY))).toContain('to[0].paths cannot be judged');
});

test('what shadows a policy and what conflicts with it is named, and forgotten when it goes', async () => {
  await using world = await PolicyWorld.create();
  const allow = (name: string, spec: object): TestPolicy => ({
    name,
    spec: { rules: [{ from: [{ serviceAccounts: ['web'] }] }], ...spec },
  });
  world.put(
    allow('orders', {}),
    allow('wide', { rules: [{}] }),
    allow('no', { action: 'DENY', selector: { matchLabels: { app: 'x' } } }),
  );
  world.put(allow('yes', { selector: { matchLabels: { app: 'x' } } }));
  world.lead();
  const field = (name: string, of: string): unknown => world.status(`AuthorizationPolicy/shop/${name}`)?.[of];
  await expect.poll(() => field('orders', 'shadowedBy')).toEqual(['AuthorizationPolicy shop/wide']);
  await expect.poll(() => field('yes', 'conflictsWith')).toEqual(['AuthorizationPolicy shop/no']);
  await expect.poll(() => field('no', 'conflictsWith')).toEqual(['AuthorizationPolicy shop/yes']);
  expect(field('wide', 'shadowedBy')).toEqual([]);
  world.remove({ name: 'no' });
  await expect.poll(() => field('yes', 'conflictsWith')).toEqual([]);
});
