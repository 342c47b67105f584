import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { callersOf } from '../../../policy/callers.ts';
import { compile } from '../../../policy/compile/snapshot.ts';
import { decide } from '../../../policy/decide.ts';
import { loadAllExpressions } from '../../../policy/expressions/load.ts';
import type { DefaultAction } from '../../../policy/model.ts';
import { normalizePath } from '../../../policy/normalize/path.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import { parseSpiffeId } from '../../../spiffe/spiffe-id.ts';
import { orders } from '../../support/policy/policy-objects.ts';

const expressions = await loadAllExpressions();
const destination = { namespace: 'shop', serviceAccount: 'orders', selectors: new Set(['k8s:pod-label:app:orders']) };
const operation = { method: 'GET', path: normalizePath('/orders/{id}') };

const callers = (specs: readonly object[], defaultAction: DefaultAction = 'audit') => {
  const policies = specs.map((spec, index) => parsePolicy(orders(`p${index}`, spec)));
  return callersOf(compile(policies, { defaultAction, expressions }), destination, operation);
};

const web = { from: [{ serviceAccounts: ['web'] }] };
const to = (clause: object) => ({ to: [clause] });
/** What may be decided of a call, given who may make it. */
const POSSIBLE = { nobody: ['deny'], everybody: ['allow'], some: ['allow', 'deny'] } as const;

const deny = (...rules: readonly object[]) => ({ action: 'DENY', rules });

describe('who may call an operation', () => {
  test.each<[string, readonly object[], DefaultAction, object]>([
    ['nothing is declared', [], 'audit', { callers: 'everybody', reason: 'default_audit' }],
    ['nothing is declared and the default denies', [], 'deny', { callers: 'nobody', reason: 'default_deny' }],
    [
      'somebody',
      [{ rules: [web] }],
      'audit',
      { callers: 'some', rules: [{ effect: 'allow', from: web.from, isConditional: false }] },
    ],
    ['everybody', [{ rules: [{}] }], 'deny', { callers: 'everybody' }],
    ['everybody, by its path', [{ rules: [to({ paths: [{ template: '/orders/{any}' }] })] }], 'deny', { callers: 'everybody' }],
    ['another method', [{ rules: [to({ methods: ['POST'] })] }], 'audit', { callers: 'nobody', reason: 'no_rule_matches' }],
    ['another path', [{ rules: [to({ paths: [{ prefix: '/admin' }] })] }], 'audit', { callers: 'nobody' }],
    ['all but this path', [{ rules: [to({ not: { paths: [{ prefix: '/orders' }] } })] }], 'audit', { callers: 'nobody' }],
    ['no rules', [{ rules: [] }], 'audit', { callers: 'nobody' }],
    [
      'one of its paths',
      [{ rules: [to({ paths: [{ exact: '/orders/7' }] })] }],
      'audit',
      { callers: 'some', rules: [{ isConditional: true }] },
    ],
    [
      'a header',
      [{ rules: [to({ headers: [{ name: 'a', exact: 'b' }] })] }],
      'audit',
      { callers: 'some', rules: [{ isConditional: true }] },
    ],
    ['a host', [{ rules: [to({ hosts: ['orders'] })] }], 'audit', { callers: 'some', rules: [{ isConditional: true }] }],
    ['a port', [{ rules: [to({ ports: ['80'] })] }], 'audit', { callers: 'some', rules: [{ isConditional: true }] }],
    [
      'a condition',
      [{ rules: [{ when: 'now > timestamp("2026-01-01T00:00:00Z")' }] }],
      'audit',
      { callers: 'some', rules: [{ isConditional: true }] },
    ],
    ['denied to all', [{ rules: [{}] }, deny({})], 'audit', { callers: 'nobody', reason: 'denied_by_rule' }],
    [
      'denied to some',
      [{ rules: [{}] }, deny(web)],
      'audit',
      { callers: 'some', rules: [{ effect: 'deny' }, { effect: 'allow' }] },
    ],
    [
      'denied to some, open by default',
      [deny(web)],
      'audit',
      { callers: 'some', reason: 'default_audit', rules: [{ effect: 'deny' }] },
    ],
    ['denied on some paths', [{ rules: [{}] }, deny(to({ paths: [{ exact: '/orders/7' }] }))], 'audit', { callers: 'some' }],
    ['denied elsewhere', [{ rules: [{}] }, deny(to({ paths: [{ prefix: '/admin' }] }))], 'audit', { callers: 'everybody' }],
    ['DryRun decides nothing', [{ rules: [{}] }, { ...deny({}), mode: 'DryRun' }], 'audit', { callers: 'everybody' }],
    ['AUDIT decides nothing', [{ action: 'AUDIT', rules: [{}] }], 'deny', { callers: 'nobody', reason: 'default_deny' }],
  ])('%s', (_title, specs, defaultAction, expected) => {
    expect(callers(specs, defaultAction)).toMatchObject(expected);
  });

  test('never says nobody of what somebody may, nor everybody of what somebody may not', () => {
    const path = fc.constantFrom(
      { exact: '/orders/7' },
      { exact: '/orders' },
      { prefix: '/orders' },
      { suffix: '7' },
      { template: '/orders/{id}' },
      { template: '/{rest=**}' },
      { regex: '/orders/[0-9]+' },
    );
    const clause = fc.oneof(
      fc.record({ paths: fc.array(path, { minLength: 1, maxLength: 2 }) }),
      fc.record({ methods: fc.constantFrom(['GET'], ['POST'], ['GET', 'PUT']) }),
      fc.record({ not: fc.record({ paths: fc.array(path, { minLength: 1, maxLength: 2 }) }) }),
    );
    const rule = fc.record(
      { from: fc.constantFrom(web.from, [{ namespaces: ['billing'] }]), to: fc.array(clause, { minLength: 1, maxLength: 2 }) },
      { requiredKeys: [] },
    );
    const spec = fc.record({ action: fc.constantFrom('ALLOW', 'DENY'), rules: fc.array(rule, { maxLength: 2 }) });
    const source = fc.constantFrom(
      {},
      { spiffeId: parseSpiffeId('spiffe://example.org/web'), namespace: 'shop', serviceAccount: 'web' },
      { spiffeId: parseSpiffeId('spiffe://example.org/batch'), namespace: 'billing', serviceAccount: 'batch' },
    );
    const called = fc.constantFrom('/orders/7', '/orders/8', '/orders/x7');
    const run = fc.property(fc.array(spec, { maxLength: 3 }), source, called, (specs, from, target) => {
      const snapshot = compile(
        specs.map((each, index) => parsePolicy(orders(`p${index}`, each))),
        { expressions },
      );
      const request = { method: 'GET', path: normalizePath(target), host: 'orders', headers: new Map<string, string>() };
      const { verdict } = decide(snapshot, { source: from, destination: { ...destination, port: 80 }, request, atMs: 0 });
      const said = callersOf(snapshot, destination, operation).callers;
      expect(POSSIBLE[said]).toContain(verdict);
    });
    fc.assert(run, { numRuns: 2000 });
  });
});
