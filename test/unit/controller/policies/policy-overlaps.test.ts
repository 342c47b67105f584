import { expect, test } from 'vitest';
import { PolicyOverlaps } from '../../../../controller/policies/policy-overlaps.ts';
import { readPolicyObject } from '../../../../controller/policies/policy-object.ts';
import { compile } from '../../../../policy/compile/snapshot.ts';
import { lint } from '../../../../policy/lint.ts';
import { policyKey, type Policy } from '../../../../policy/policy.ts';
import { policyObject, type TestPolicy } from '../../../support/policy-world.ts';

function policy(given: TestPolicy): Policy {
  const { policy: read } = readPolicyObject(policyObject(given));
  if (read === undefined) throw new Error('no policy');
  return read;
}

const from = (...serviceAccounts: readonly string[]) => ({ from: [{ serviceAccounts }] });
const x = { selector: { matchLabels: { app: 'x' } } };

const POLICIES: readonly Policy[] = [
  policy({ name: 'web', spec: { rules: [from('web')] } }),
  policy({ name: 'web-too', spec: { ...x, rules: [from('web'), from('shop')] } }),
  policy({ name: 'both', spec: { ...x, rules: [from('web')] } }),
  policy({ name: 'all', spec: { rules: [{}] } }),
  policy({ name: 'no-web', spec: { action: 'DENY', ...x, rules: [from('web')] } }),
  policy({ name: 'no-web', namespace: 'other', spec: { action: 'DENY', ...x, rules: [from('web')] } }),
  policy({ kind: 'ClusterAuthorizationPolicy', name: 'nobody', spec: { action: 'DENY', ...x, rules: [{}] } }),
  policy({ name: 'dry', spec: { mode: 'DryRun', rules: [{}] } }),
  policy({ name: 'nothing', spec: {} }),
];

function overlapsOf(policies: readonly Policy[]): PolicyOverlaps {
  const overlaps = new PolicyOverlaps();
  for (const each of policies) overlaps.put(each);
  overlaps.settle();
  return overlaps;
}

function all(overlaps: PolicyOverlaps): unknown {
  const keys = POLICIES.map(({ name }) => policyKey(name));
  return keys.map((key) => [key, overlaps.shadowedBy(key), overlaps.conflictsWith(key)]);
}

test('a policy of which no rule decides is shadowed, one that is contradicted conflicts', () => {
  const overlaps = overlapsOf(POLICIES);
  const shadowing = (name: string): readonly string[] => overlaps.shadowedBy(`AuthorizationPolicy/shop/${name}`);
  expect(shadowing('web')).toEqual(['AuthorizationPolicy shop/all']);
  expect(shadowing('all')).toEqual([]);
  expect(shadowing('nothing')).toEqual([]);
  expect(shadowing('no-web')).toEqual(['ClusterAuthorizationPolicy nobody']);
  expect(shadowing('web-too')).toContain('ClusterAuthorizationPolicy nobody');
  expect(overlaps.conflictsWith('AuthorizationPolicy/shop/both')).toEqual(['AuthorizationPolicy shop/no-web']);
  expect(overlaps.conflictsWith('AuthorizationPolicy/shop/no-web')).toContain('AuthorizationPolicy shop/both');
  expect(overlaps.conflictsWith('AuthorizationPolicy/other/no-web')).toEqual([]);
});

test('it is the same in whatever order policies come, change and go', () => {
  const expected = all(overlapsOf(POLICIES));
  expect(all(overlapsOf(POLICIES.toReversed()))).toEqual(expected);
  const overlaps = overlapsOf(POLICIES);
  for (const each of POLICIES) overlaps.remove(policyKey(each.name));
  overlaps.settle();
  expect(all(overlaps)).toEqual(POLICIES.map(({ name }) => [policyKey(name), [], []]));
  for (const each of POLICIES) overlaps.put({ ...each, rules: [] });
  overlaps.settle();
  for (const each of POLICIES) overlaps.put(each);
  overlaps.settle();
  expect(all(overlaps)).toEqual(expected);
});

test('what lint finds is found', () => {
  const overlaps = overlapsOf(POLICIES);
  for (const { code, policy: name, other } of lint(compile(POLICIES))) {
    if (code !== 'conflicts' || other === undefined) continue;
    expect(overlaps.conflictsWith(policyKey(name))).toContain(
      `${other.policy.kind} ${other.policy.namespace}/${other.policy.name}`,
    );
  }
});

test('who is told is whom it concerns', () => {
  const overlaps = overlapsOf(POLICIES);
  const told = new Set<string>();
  overlaps.onChanged((key) => void told.add(key));
  overlaps.put(policy({ name: 'loner', namespace: 'away', spec: { rules: [from('web')] } }));
  overlaps.settle();
  expect([...told]).toEqual(['AuthorizationPolicy/away/loner']);
  overlaps.remove('AuthorizationPolicy/shop/no-web');
  expect(told).toContain('AuthorizationPolicy/shop/both');
});

test('what is not there yet meets what is', () => {
  const overlaps = overlapsOf(POLICIES);
  const proposed = policy({ name: 'new', spec: { ...x, rules: [from('web')] } });
  expect(overlaps.wouldMeet(proposed).conflictsWith).toEqual(['AuthorizationPolicy shop/no-web']);
  expect(overlaps.conflictsWith('AuthorizationPolicy/shop/no-web')).not.toContain('AuthorizationPolicy shop/new');
});

test('work is done in parts', () => {
  const overlaps = new PolicyOverlaps();
  for (const each of POLICIES) overlaps.put(each);
  let parts = 0;
  while (overlaps.work(() => true)) parts += 1;
  expect(parts).toBeGreaterThan(POLICIES.length);
  expect(all(overlaps)).toEqual(all(overlapsOf(POLICIES)));
});
