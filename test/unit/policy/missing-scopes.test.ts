// Which scopes would have done: told only where they are all that is missing.
import { expect, test } from 'vitest';
import { compile } from '../../../policy/compile/snapshot.ts';
import { decide } from '../../../policy/decide.ts';
import { missingScopes } from '../../../policy/missing-scopes.ts';
import type { Call } from '../../../policy/model.ts';
import { normalizeRequest } from '../../../policy/normalize/request.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import type { Json } from '../../../policy/schema/json.ts';
import { authz } from '../../support/policy/policy-objects.ts';

const destination = { namespace: 'shop', selectors: new Set<string>() };

function callWith(claims: Readonly<Record<string, Json>>): Call {
  const request = normalizeRequest({ method: 'GET', target: '/', authority: 'orders', headers: [] });
  const user = { issuer: 'https://login.example.org', subject: 'alice', claims, actors: [] };
  return { source: {}, destination, ...request, user, atMs: 0 };
}

function missing(rules: readonly object[], claims: Readonly<Record<string, Json>> = {}): readonly string[] {
  return missingScopes(compile([parsePolicy(authz('p', { rules }))]), callWith(claims));
}

const of = (...users: readonly object[]) => ({ from: [{ users }] });

test('those of the first rule that they would satisfy', () => {
  expect(missing([of({ scopes: ['a', 'b'] })], { scope: 'a c' })).toEqual(['b']);
  expect(missing([of({ scopes: ['a'], roles: ['clerk'] }, { scopes: ['b'] })])).toEqual(['b']);
  expect(missing([{ ...of({ scopes: ['a'] }), to: [{ methods: ['POST'] }] }, of({ scopes: ['b'] })], { scp: ['c'] })).toEqual([
    'b',
  ]);
});

test('with them, the call is allowed', () => {
  const rules = [of({ scopes: ['a', 'b'], subjects: ['alice'] })];
  const snapshot = compile([parsePolicy(authz('p', { rules }))]);
  expect(decide(snapshot, callWith({ scp: ['a'] })).verdict).toBe('deny');
  const scope = ['a', ...missingScopes(snapshot, callWith({ scp: ['a'] }))].join(' ');
  expect(decide(snapshot, callWith({ scope })).verdict).toBe('allow');
});

test('none where something else is missing too, or nobody is known', () => {
  expect(missing([of({ scopes: ['a'], subjects: ['bob'] })])).toEqual([]);
  expect(missing([{ from: [{ users: [{ scopes: ['a'] }], not: { users: [{ scopes: ['a'] }] } }] }])).toEqual([]);
  expect(missing([{}])).toEqual([]);
  const { source, atMs } = callWith({});
  const snapshot = compile([parsePolicy(authz('p', { rules: [of({ scopes: ['a'] })] }))]);
  expect(missingScopes(snapshot, { source, destination, atMs })).toEqual([]);
});

test('a denial does not try every rule there is', () => {
  const others = Array.from({ length: 16 }, (_, index) => of({ scopes: [`s${index}`], subjects: ['bob'] }));
  expect(missing([...others, of({ scopes: ['a'] })])).toEqual([]);
});
