import { describe, expect, test } from 'vitest';
import { compile } from '../../../policy/compile/snapshot.ts';
import { decide } from '../../../policy/decide.ts';
import { lint } from '../../../policy/lint.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import { inferTemplate } from '../../../policy/path-inference.ts';
import { suggest } from '../../../policy/suggest.ts';
import type { RecordedCall } from '../../../policy/simulate.ts';
import { authz, orders } from '../../support/policy/policy-objects.ts';
import { callOf } from '../../support/policy/table-types.ts';
import type { Row } from '../../support/policy/table-types.ts';

const snapshotOf = (...objects: readonly object[]) => compile(objects.map(parsePolicy), { defaultAction: 'deny' });
const found = (...objects: readonly object[]) =>
  lint(snapshotOf(...objects)).map(({ code, policy, rule }) => `${code} ${policy.name}#${rule}`);
const recorded = (row: Row, count = 1): RecordedCall => ({ call: callOf(row), count, lastSeenAtMs: 0 });

describe('lint', () => {
  const get = { to: [{ methods: ['GET'] }] };
  const getOrHead = { to: [{ methods: ['GET', 'HEAD'] }] };

  test.each([
    [
      'nothing about rules that differ',
      [orders('a', { rules: [get] }), orders('b', { rules: [{ to: [{ methods: ['PUT'] }] }] })],
      [],
    ],
    ['an ALLOW within another', [orders('a', { rules: [get] }), orders('b', { rules: [getOrHead] })], ['shadowed a#0']],
    ['the later of two equal ones', [orders('a', { rules: [get] }), orders('b', { rules: [get] })], ['shadowed b#0']],
    [
      'an ALLOW that a wider DENY covers',
      [orders('a', { rules: [get] }), orders('b', { action: 'DENY', rules: [{}] })],
      ['shadowed a#0'],
    ],
    [
      'an ALLOW and a DENY of the same',
      [orders('a', { rules: [get] }), orders('b', { action: 'DENY', rules: [get] })],
      ['conflicts a#0'],
    ],
    [
      'nothing across targets',
      [orders('a', { rules: [get] }), authz('b', { selector: { matchLabels: { app: 'x' } }, rules: [get] })],
      [],
    ],
    ['nothing across namespaces', [orders('a', { rules: [get] }), authz('billing/b', { rules: [{}] })], []],
    ['a policy of the namespace that covers', [orders('a', { rules: [get] }), authz('b', { rules: [{}] })], ['shadowed a#0']],
    ['nothing about DryRun', [orders('a', { rules: [get] }), orders('b', { mode: 'DryRun', action: 'DENY', rules: [{}] })], []],
  ])('%s', (_title, objects, expected) => {
    expect(found(...objects)).toEqual(expected);
  });

  test.each([
    { paths: [{ exact: '/a//b' }] },
    { paths: [{ exact: '/a;b' }] },
    { paths: [{ template: '/a/x{id}' }] },
    { ports: ['9-8'] },
    { methods: ['get'] },
  ])('what never matches: %j', (clause) => {
    expect(found(orders('a', { rules: [{ to: [clause] }] }))).toEqual(['never_matches a#0']);
  });

  test('what is not used, and what is wider than used', () => {
    const snapshot = snapshotOf(
      orders('a', { rules: [{ from: [{ namespaces: ['billing'] }] }, { from: [{ trustDomains: ['example.org'] }] }] }),
    );
    const findings = lint(snapshot, { calls: [recorded(['web', 'GET /', ''])] });
    expect(findings.map(({ code, rule }) => [code, rule])).toEqual([
      ['unused', 0],
      ['wider_than_used', 1],
    ]);
  });
});

describe('suggest', () => {
  const rows: readonly Row[] = [
    ['web', 'GET /orders/17', ''],
    ['web', 'GET /orders/18', ''],
    ['web', 'POST /orders', ''],
    ['batch', 'GET /export', '', { to: 'ledger' }],
    ['host', 'connect', '', { to: 'db' }],
  ];

  test('policies that allow what was recorded, and nothing beside', () => {
    const { policies, left } = suggest([...rows.map((row) => recorded(row)), recorded(['nobody', 'GET /', ''])]);
    expect(left.map(({ call }) => call.source.spiffeId)).toEqual([undefined]);
    const snapshot = compile(policies.map(parsePolicy), { defaultAction: 'deny' });
    expect(rows.map((row) => decide(snapshot, callOf(row)).verdict)).toEqual(rows.map(() => 'allow'));
    const others: readonly Row[] = [
      ['web', 'DELETE /orders/17', ''],
      ['web', 'GET /orders/17/items', ''],
      ['batch', 'GET /orders/17', ''],
      ['web', 'GET /export', '', { to: 'ledger' }],
      ['web', 'connect', '', { to: 'db' }],
      ['nobody', 'GET /orders/17', ''],
    ];
    expect(others.map((row) => decide(snapshot, callOf(row)).verdict)).toEqual(others.map(() => 'deny'));
  });

  test.each([
    ['/orders/17/items/9', { template: '/orders/{id}/items/{id2}' }],
    ['/users/3f0c2a4e-9a51-4c0e-8c7f-5b8f0a6d1e2f', { template: '/users/{id}' }],
    ['/a/{name}/b', { template: '/a/{name}/b' }],
    ['/orders', { exact: '/orders' }],
    ['/v1/health', { exact: '/v1/health' }],
    ['/users/alice.b@mail.example.org/orders', { template: '/users/{id}/orders' }],
    ['/@scope/package@1.2.3', { exact: '/@scope/package@1.2.3' }],
  ])('%s', (path, expected) => {
    expect(inferTemplate(path)).toEqual(expected);
  });
});
