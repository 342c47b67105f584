import { expect, test } from 'vitest';
import { planPolicies } from '../../../../controller/policies/policy-plan.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { decodePolicy } from '../../../../policy/wire-policy.ts';
import { PolicyWorld, type TestPolicy } from '../../../support/policy-world.ts';

const KEY = 'AuthorizationPolicy/shop/orders';
const CAREFUL = { annotations: { 'countersign.dev/refuse-if-denies': 'true' } };
const orders = (generation: number, spec: object = {}): TestPolicy => ({ name: 'orders', generation, spec, ...CAREFUL });
const CUTS_OFF = {
  kinds: 3n,
  denied: 1,
  changes: [
    {
      call: { sourceSpiffeId: 'spiffe://example.org/web', destination: { spiffeId: 'spiffe://example.org/orders' }, count: 2n },
      before: { verdict: 'allow' },
      after: { verdict: 'deny', reason: 'no_rule_matches' },
    },
  ],
};

const message = (world: PolicyWorld): unknown => JSON.stringify(world.status(KEY)?.['conditions']);

test('of files, an annotated policy that would cut off recorded calls leaves the old one in force and says why', async () => {
  await using world = await PolicyWorld.create({ isUnreviewed: true });
  world.put(orders(1));
  world.lead();
  await expect.poll(() => world.ca.keys).toEqual([KEY]);
  world.ca.simulation = CUTS_OFF;
  world.put(orders(2, { action: 'DENY', rules: [{}] }));
  await expect.poll(() => world.condition(KEY, 'Accepted')).toBe('False PolicyRefused');
  expect(message(world)).toContain('refused, as countersign.dev/refuse-if-denies asks: cuts off calls that were seen');
  expect(message(world)).toContain('spiffe://example.org/web → spiffe://example.org/orders');
  expect(decodePolicy(world.ca.documents.get(KEY) ?? '').action).toBe('ALLOW');
  const { set, refused } = await planPolicies(world.parts.reconciler, new AbortController().signal);
  expect(set).toEqual([]);
  expect(refused).toEqual([expect.stringMatching(/^AuthorizationPolicy shop\/orders: refused.*would be denied/)]);
  world.ca.simulation = { harmless: true };
  world.put(orders(3, { action: 'DENY', rules: [{}] }));
  await expect.poll(() => decodePolicy(world.ca.documents.get(KEY) ?? '').action).toBe('DENY');
});

test.each([
  ['without the annotation', { name: 'orders' }],
  ['that says false', { name: 'orders', annotations: { 'countersign.dev/refuse-if-denies': 'false' } }],
  ['of mode DryRun', orders(1, { mode: 'DryRun' })],
])('one %s is not asked about', async (_how, policy) => {
  await using world = await PolicyWorld.create({ isUnreviewed: true });
  world.ca.simulation = CUTS_OFF;
  world.put(policy);
  world.lead();
  await expect.poll(() => world.ca.keys).toEqual([KEY]);
  expect(world.ca.simulations).toEqual([]);
});

test('where a webhook looks at them, nobody is asked again', async () => {
  await using world = await PolicyWorld.create();
  world.ca.simulation = CUTS_OFF;
  world.put(orders(1));
  world.lead();
  await expect.poll(() => world.ca.keys).toEqual([KEY]);
  expect(world.ca.simulations).toEqual([]);
});

test('what cannot be simulated is refused; the others are put in force', async () => {
  await using world = await PolicyWorld.create({ isUnreviewed: true });
  world.ca.simulation = new IdentityError('unimplemented', 'no such method');
  const people = { issuers: [{ issuer: 'https://login.test', audiences: ['orders'] }], tokens: 'Required' };
  world.put(orders(1), { name: 'bills' }, { kind: 'RequestAuthentication', name: 'people', spec: people, ...CAREFUL });
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Accepted')).toBe('False PolicyRefused');
  expect(message(world)).toContain('what it does to recorded calls is not known');
  await expect.poll(() => world.condition('RequestAuthentication/shop/people', 'Accepted')).toBe('False PolicyRefused');
  expect(world.ca.keys).toEqual(['AuthorizationPolicy/shop/bills']);
});

test('a value that is neither true nor false makes the object unusable; a name that means nothing is told once', async () => {
  await using world = await PolicyWorld.create({ isUnreviewed: true });
  world.put({ name: 'orders', annotations: { 'countersign.dev/refuse-if-denies': 'yes' } });
  world.put({ name: 'bills', annotations: { 'countersign.dev/refuse-if-deny': 'true', 'other.dev/x': '' } });
  world.lead();
  await expect.poll(() => world.condition(KEY, 'Accepted')).toBe('False Invalid');
  expect(message(world)).toContain('must be \\"true\\" or \\"false\\"');
  await expect.poll(() => world.ca.keys).toEqual(['AuthorizationPolicy/shop/bills']);
  expect(world.told).toEqual([
    'AuthorizationPolicy/shop/bills: UnknownAnnotation: the annotation countersign.dev/refuse-if-deny means nothing; there is countersign.dev/refuse-if-denies',
  ]);
});
