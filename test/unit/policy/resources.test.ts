import { expect, test } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { POLICY_DEFINITIONS } from '../../../crds/index.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import { BAD_POLICIES } from '../../support/resources/bad-policies.ts';
import { withField } from '../../support/resources/bad-specs.ts';
import { FULL_POLICIES } from '../../support/resources/good-policies.ts';
import { faultsOf, objectOf } from '../../support/resources/objects.ts';

test.each(POLICY_DEFINITIONS.map(({ type, example }) => [type.kind, example]))(
  '%s: its example and every field are read',
  (kind, example) => {
    expect(faultsOf(kind, parseYaml(example))).toEqual([]);
    expect(faultsOf(kind, objectOf(kind, FULL_POLICIES[kind]))).toEqual([]);
  },
);

test.each(BAD_POLICIES.map((bad) => [bad.kind, bad.set, JSON.stringify(bad.to)?.slice(0, 80), bad] as const))(
  '%s: %s = %s is refused, and the field named',
  (kind, set, _shown, { to, named = set }) => {
    const object = objectOf(kind, withField(FULL_POLICIES[kind] ?? {}, set, to), 'bad');
    expect(faultsOf(kind, object).map(({ path }) => path)).toContain(`spec.${named}`);
  },
);

test('a policy without rules has none, and is enforced', () => {
  const policy = parsePolicy({ kind: 'AuthorizationPolicy', metadata: { name: 'a', namespace: 'shop' }, spec: {} });
  expect(policy).toMatchObject({ action: 'ALLOW', mode: 'Enforce', failureMode: 'Closed', rules: [] });
});

test('another kind is refused', () => {
  expect(() => parsePolicy({ kind: 'Pod' })).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  expect(() => parsePolicy(null)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
});
