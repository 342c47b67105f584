import { describe, expect, test } from 'vitest';
import { compile } from '../../../policy/compile/snapshot.ts';
import { decide } from '../../../policy/decide.ts';
import { compileCondition } from '../../../policy/expressions/cel.ts';
import { loadAllExpressions } from '../../../policy/expressions/load.ts';
import { compileRegex } from '../../../policy/expressions/re2.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import { orders } from '../../support/policy/policy-objects.ts';
import { callOf } from '../../support/policy/table-types.ts';

const refused = expect.objectContaining({ code: 'invalid_argument' });

test.each([
  'request.',
  'request.nothing == "a"',
  'source.spiffeID == 1',
  'request.path',
  '1',
  'unknown == 1',
  'request.path.matches(request.host)',
  'request.path.matches("(")',
  'request.path.matches("(?:(?:a{100}){100}){10}")',
  'request.path.split("/").size() > 2',
  'request.path.split("").exists(x, x == "a")',
  'cel.bind(a, "aaaa", a + a == "b")',
  'user.claims.a.all(x, user.claims.a.all(y, x == y))',
  '[1, 2].all(a, [1, 2].all(b, user.claims.a.all(c, user.claims.b.all(d, c == d))))',
  `${'('.repeat(100)}true${')'.repeat(100)}`,
  `"${'a'.repeat(3000)}" == request.path`,
  `[${Array.from({ length: 400 }, () => '1').join(',')}].size() == 1`,
])('no condition: %s', (text) => {
  expect(() => compileCondition(text)).toThrow(refused);
});

test.each(['(', '(?<=a)b', '(?=a)b', String.raw`(a)\1`, 'a{1001}', '((a{100}){100}){100}', 'a'.repeat(513)])(
  'no regular expression: %s',
  (text) => {
    expect(() => compileRegex(text)).toThrow(refused);
  },
);

test('a condition says what it reads', () => {
  const fields = (text: string) => [...compileCondition(text).fields].sort();
  expect(fields('request.headers["a"] == source.namespace')).toEqual(['request.headers', 'source.workload']);
  expect(fields('has(user.claims.a) && now > timestamp("2020-01-01T00:00:00Z")')).toEqual(['user']);
  expect(fields('["a"].exists(request, request == "a")')).toEqual([]);
});

test('a list of a token that is too long makes a condition fail', () => {
  const { holds } = compileCondition('user.claims.roles.exists(role, role == "a")');
  const user = (count: number) => ({
    issuer: 'i',
    subject: 's',
    claims: { roles: Array.from({ length: count }, () => 'a') },
    actors: [],
  });
  const call = callOf(['web', 'GET /', '']);
  expect([256, 257].map((count) => holds({ ...call, user: user(count) }))).toEqual([true, undefined]);
});

describe('a policy that does not compile', async () => {
  const expressions = await loadAllExpressions();
  const call = callOf(['web', 'GET /', '']);

  test.each([
    ['ALLOW', 'deny'],
    ['DENY', 'deny'],
  ])('%s: %s, and the problem is named', (action, verdict) => {
    const object = orders('a', { action, rules: [{ when: 'request.' }, { to: [{ paths: [{ regex: '(' }] }] }] });
    const snapshot = compile([parsePolicy(object)], { defaultAction: 'allow', expressions });
    expect(decide(snapshot, call).verdict).toBe(verdict);
    const problems = [...snapshot.policies.values()].flatMap((policy) => policy.problems.map(({ path }) => path));
    expect(problems).toEqual(['spec.rules[0].when', 'spec.rules[1].to[0].paths[0].regex']);
  });

  test('without the libraries, compiling a policy that needs them fails', () => {
    const policy = parsePolicy(orders('a', { rules: [{ when: 'true' }] }));
    expect(() => compile([policy])).toThrow(expect.objectContaining({ code: 'failed_precondition' }));
  });

  test('what connections cannot show is noted', () => {
    const policy = parsePolicy(
      orders('a', { rules: [{ from: [{ namespaces: ['a'] }], to: [{ methods: ['GET'] }], when: 'user.subject == "a"' }] }),
    );
    const [compiled] = compile([policy], { expressions }).policies.values();
    expect(compiled?.notes).toMatchObject([{ code: 'unseen_on_connections', rule: 0, paths: ['to[0].methods', 'when'] }]);
  });
});
