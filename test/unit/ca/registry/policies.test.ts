import { expect, test } from 'vitest';
import { namespaceOfKey, Policies } from '../../../../ca/registry/policies.ts';
import { policyResource } from '../../../support/policies.ts';

test('policies are found by key and by namespace, and what changed by revision', () => {
  const policies = new Policies();
  for (const [index, key] of [
    'AuthorizationPolicy/a/one',
    'RequestAuthentication/a/two',
    'ClusterAuthorizationPolicy//all',
  ].entries()) {
    policies.put(key, policyResource(key), index + 1);
  }
  policies.put('AuthorizationPolicy/a/one', undefined, 4);
  expect([...policies.inNamespace('a')].map(({ key }) => key)).toEqual(['RequestAuthentication/a/two']);
  expect([...policies.namespaces]).toEqual(['a', '']);
  expect([...policies.changedSince(2)]).toEqual(['ClusterAuthorizationPolicy//all', 'AuthorizationPolicy/a/one']);
  policies.put('RequestAuthentication/a/two', undefined, 5);
  expect([[...policies.namespaces], policies.size, policies.lastRevision]).toEqual([[''], 1, 5]);
});

test('names of what is gone are remembered, but not without end', () => {
  const policies = new Policies();
  const kept = policyResource('AuthorizationPolicy/a/kept');
  policies.put('AuthorizationPolicy/a/kept', kept, 1);
  for (let index = 0; index < 50_000; index += 1) policies.put(`AuthorizationPolicy/a/p${index}`, undefined, index + 2);
  expect(policies.forgetGone()).toBe(0);
  policies.put('AuthorizationPolicy/a/last', undefined, 60_000);
  expect(policies.forgetGone()).toBe(60_000);
  expect([...policies.changedSince(0)]).toEqual(['AuthorizationPolicy/a/kept']);
});

test.each([
  ['AuthorizationPolicy/shop/orders', 'shop'],
  ['ClusterAuthorizationPolicy//all', ''],
])('the namespace of %s is in its key', (key, namespace) => {
  expect(namespaceOfKey(key)).toBe(namespace);
});
