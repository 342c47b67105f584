import { expect, test } from 'vitest';
import { IdentityError } from '../../../../core/errors.ts';
import { decodePolicy } from '../../../../policy/wire-policy.ts';
import { PolicyWorld, type TestPolicy } from '../../../support/policy-world.ts';

const ORDERS: TestPolicy = { name: 'orders', spec: { rules: [{ from: [{ serviceAccounts: ['web'] }] }] } };
const KEY = 'AuthorizationPolicy/shop/orders';

function many(count: number, prefix = 'p'): readonly TestPolicy[] {
  return Array.from({ length: count }, (_, index) => ({ name: `${prefix}-${index}` }));
}

test('what is declared is at the CA, changes there, and goes', async () => {
  await using world = await PolicyWorld.create();
  world.put(ORDERS);
  world.lead();
  await expect.poll(() => world.ca.keys).toEqual([KEY]);
  expect(decodePolicy(world.ca.documents.get(KEY) ?? '')).toMatchObject({ meta: { generation: 1, uid: 'uid-orders' } });
  world.put({ ...ORDERS, generation: 2, spec: { action: 'DENY', rules: [{}] } });
  await expect.poll(() => decodePolicy(world.ca.documents.get(KEY) ?? '').action).toBe('DENY');
  world.remove(ORDERS);
  await expect.poll(() => world.ca.keys).toEqual([]);
  expect(world.ca.writes).toEqual([`set ${KEY}`, `set ${KEY}`, `delete ${KEY}`]);
});

test('a term that finds everything in place writes nothing, and metadata that says nothing costs nothing', async () => {
  await using world = await PolicyWorld.create();
  world.put(ORDERS, ...many(20));
  world.lead();
  await expect.poll(() => world.parts.reconciler.settled.value).toBe(true);
  expect(world.ca.writes).toHaveLength(1);
  await world.resign();
  world.put({ ...ORDERS, annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{…}' } });
  world.lead();
  await expect.poll(() => world.parts.reconciler.settled.value).toBe(true);
  expect(world.ca.writes).toHaveLength(1);
  expect(world.ca.documents.get(KEY)).not.toContain('last-applied');
});

test('what was declared and went while nobody led is taken away; what others put there stays', async () => {
  await using world = await PolicyWorld.create();
  world.put(ORDERS, ...many(4));
  world.lead();
  await expect.poll(() => world.ca.keys).toHaveLength(5);
  await world.resign();
  const byHand = world.ca.documents.get(KEY)?.replace('"main"', '"west"').replace('"name":"orders"', '"name":"hand"');
  world.ca.meddle('AuthorizationPolicy/shop/hand', byHand);
  for (const each of many(4)) world.remove(each);
  world.lead();
  await expect.poll(() => world.ca.keys).toEqual(['AuthorizationPolicy/shop/hand', KEY]);
});

test('a policy that somebody else put there is not overwritten, and the status says so', async () => {
  await using world = await PolicyWorld.create();
  const elsewhere = JSON.stringify({
    resource: { kind: 'AuthorizationPolicy', metadata: { name: 'orders', namespace: 'shop', generation: 0 }, spec: {} },
  });
  world.ca.meddle(KEY, elsewhere);
  world.put(ORDERS);
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Ready')).toBe('False PolicyExists');
  expect(world.ca.documents.get(KEY)).toBe(elsewhere);
  expect(world.ca.writes).toEqual([]);
});

test('a policy that somebody else put there since is refused by the CA: the status says so, and it stays', async () => {
  await using world = await PolicyWorld.create();
  world.put(ORDERS, { name: 'bills' });
  world.lead();
  await expect.poll(() => world.ca.keys).toHaveLength(2);
  const elsewhere = world.ca.documents.get(KEY)?.replace('"main"', '"west"');
  world.ca.meddle(KEY, elsewhere);
  world.put({ ...ORDERS, generation: 2, spec: { action: 'DENY', rules: [{}] } }, { name: 'bills', generation: 2 });
  await expect.poll(() => world.condition(KEY, 'Ready')).toBe('False PolicyExists');
  await expect
    .poll(() => world.ca.resource('AuthorizationPolicy/shop/bills')['resource'])
    .toMatchObject({
      metadata: { generation: 2 },
    });
  world.remove(ORDERS);
  await expect.poll(() => world.parts.reconciler.policyCount).toBe(1);
  await expect.poll(() => world.parts.reconciler.outage.value).toBeUndefined();
  expect(world.ca.documents.get(KEY)).toBe(elsewhere);
});

test('a policy of ours that somebody else took over is left to them when it goes here', async () => {
  await using world = await PolicyWorld.create();
  world.put(ORDERS);
  world.lead();
  await expect.poll(() => world.ca.keys).toEqual([KEY]);
  const elsewhere = world.ca.documents.get(KEY)?.replace('"main"', '"west"');
  world.ca.meddle(KEY, elsewhere);
  world.remove(ORDERS);
  await expect.poll(() => world.parts.reconciler.policyCount).toBe(0);
  await expect.poll(() => world.parts.reconciler.outage.value).toBeUndefined();
  expect(world.ca.documents.get(KEY)).toBe(elsewhere);
  expect(world.ca.writes).toEqual([`set ${KEY}`]);
});

test('namespaces that a selector selects go along, and are kept current', async () => {
  await using world = await PolicyWorld.create();
  const key = 'ClusterAuthorizationPolicy//core';
  const namespaces = (): unknown => world.ca.resource(key)['namespaces'];
  world.namespace('shop', { tier: 'core' });
  world.namespace('web', {});
  world.put({ kind: 'ClusterAuthorizationPolicy', name: 'core', spec: { namespaceSelector: { matchLabels: { tier: 'core' } } } });
  world.lead();
  await expect.poll(namespaces).toEqual(['shop']);
  world.namespace('web', { tier: 'core' });
  await expect.poll(namespaces).toEqual(['shop', 'web']);
  world.namespace('shop', { tier: 'edge' });
  await expect.poll(namespaces).toEqual(['web']);
  world.namespace('web', undefined);
  await expect.poll(namespaces).toEqual([]);
  world.namespace('other', { tier: 'edge' });
  await expect.poll(() => world.parts.reconciler.queueLength).toBe(0);
  expect(world.ca.writes).toHaveLength(4);
});

test('most of what is there is not taken away at once, unless that is allowed', async () => {
  await using world = await PolicyWorld.create();
  world.put(...many(30));
  world.lead();
  await expect.poll(() => world.ca.keys).toHaveLength(30);
  await world.resign();
  const anew = world.next();
  anew.put(...many(2));
  anew.lead();
  await expect.poll(() => anew.parts.reconciler.settled.value).toBe(true);
  expect(world.ca.keys).toHaveLength(30);
  expect(anew.parts.reconciler.held.problem.value).toContain('28 policies of this controller');
  await anew.resign();
  const bold = world.next('allow');
  bold.put(...many(2));
  bold.lead();
  await expect.poll(() => world.ca.keys).toHaveLength(2);
  await bold.resign();
});

test('what is deleted while the controller runs goes, however much it is', async () => {
  await using world = await PolicyWorld.create();
  world.put(...many(30));
  world.lead();
  await expect.poll(() => world.ca.keys).toHaveLength(30);
  for (const each of many(30)) world.remove(each);
  await expect.poll(() => world.ca.keys).toEqual([]);
});

test('a policy that cannot be read leaves what is at the CA, also for who never knew it', async () => {
  await using world = await PolicyWorld.create();
  world.put(ORDERS);
  world.lead();
  await expect.poll(() => world.ca.keys).toEqual([KEY]);
  const before = world.ca.documents.get(KEY);
  world.put({ ...ORDERS, generation: 2, spec: { rulez: [] } });
  await expect.poll(() => world.condition(KEY, 'Accepted')).toBe('False Invalid');
  expect(JSON.stringify(world.status(KEY))).toContain('spec.rulez: unknown key');
  await world.resign();
  const anew = world.next();
  anew.put({ ...ORDERS, generation: 2, spec: { rulez: [] } });
  anew.lead();
  await expect.poll(() => anew.parts.reconciler.settled.value).toBe(true);
  await expect.poll(() => anew.condition(KEY, 'Ready')).toBe('False Invalid');
  expect(world.ca.documents.get(KEY)).toBe(before);
  expect(world.ca.writes).toHaveLength(1);
  anew.remove(ORDERS);
  await expect.poll(() => world.ca.keys).toEqual([]);
  await anew.resign();
});

test('one that the CA refuses does not keep the others from it', async () => {
  await using world = await PolicyWorld.create();
  world.ca.refuses = 'poison';
  world.put(...many(5), { name: 'poison' });
  world.lead();
  await expect.poll(() => world.ca.keys).toHaveLength(5);
  await expect.poll(() => world.condition('AuthorizationPolicy/shop/poison', 'Ready')).toBe('False PolicyRefused');
  await expect.poll(() => world.condition('AuthorizationPolicy/shop/p-0', 'Ready')).toBe('True NoNodes');
});

test('what denies is put before what allows, and taken away after it', async () => {
  await using world = await PolicyWorld.create();
  const [allow, deny] = [{ name: 'a' }, { name: 'b', spec: { action: 'DENY', rules: [{}] } }];
  world.put(allow, deny);
  world.lead();
  await expect.poll(() => world.ca.keys).toHaveLength(2);
  world.remove(deny);
  world.remove(allow);
  await expect.poll(() => world.ca.keys).toEqual([]);
  const [a, b] = ['AuthorizationPolicy/shop/a', 'AuthorizationPolicy/shop/b'];
  expect(world.ca.writes).toEqual([`set ${b} ${a}`, `delete ${a} ${b}`]);
});

test('an outage is waited out, and told of what is new', async () => {
  await using world = await PolicyWorld.create();
  world.put(ORDERS);
  world.ca.failure = new IdentityError('unavailable', 'not now');
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Programmed')).toBe('Unknown CaUnavailable');
  world.ca.failure = undefined;
  await expect.poll(() => world.condition(KEY, 'Programmed'), { timeout: 10_000 }).toBe('True NoNodes');
});

test('what somebody else changed or took away at the CA is put right', async () => {
  await using world = await PolicyWorld.create({ driftCheckMs: 100 });
  world.put(ORDERS, { name: 'b' });
  world.lead();
  await expect.poll(() => world.ca.keys).toHaveLength(2);
  const before = world.ca.documents.get(KEY);
  world.ca.meddle(KEY, before?.replace('"web"', '"eve"'));
  world.ca.meddle('AuthorizationPolicy/shop/b', undefined);
  await expect.poll(() => world.ca.documents.get(KEY)).toBe(before);
  await expect.poll(() => world.ca.keys).toHaveLength(2);
  expect(world.ca.writes).toHaveLength(2);
});

test('a write of which no answer came is looked at before it is done again', async () => {
  await using world = await PolicyWorld.create();
  world.put(ORDERS);
  world.ca.losesAnswer = true;
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Programmed'), { timeout: 5_000 }).toBe('True NoNodes');
  expect(world.ca.writes).toEqual([`set ${KEY}`]);
});

test('a policy of somebody else that goes makes room', async () => {
  await using world = await PolicyWorld.create({ driftCheckMs: 100 });
  const elsewhere = JSON.stringify({ resource: { kind: 'AuthorizationPolicy', metadata: { generation: 0 } } });
  world.ca.meddle(KEY, elsewhere);
  world.put(ORDERS);
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Ready')).toBe('False PolicyExists');
  world.ca.meddle(KEY, undefined);
  await expect.poll(() => world.condition(KEY, 'Ready'), { timeout: 5_000 }).toBe('True NoNodes');
});
