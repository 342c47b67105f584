import { describe, expect, test } from 'vitest';
import { compile } from '../../../policy/compile/snapshot.ts';
import { loadAllExpressions } from '../../../policy/expressions/load.ts';
import { decide } from '../../../policy/decide.ts';
import { lint } from '../../../policy/lint.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import { inferTemplate, isWrittenByRecorder, recordedPathOf } from '../../../policy/path-inference.ts';
import { normalizePath } from '../../../policy/normalize/path.ts';
import { suggest } from '../../../policy/suggest.ts';
import type { RecordedCall } from '../../../policy/simulate.ts';
import { parseSpiffeId } from '../../../spiffe/spiffe-id.ts';
import { authz, orders } from '../../support/policy/policy-objects.ts';
import { callOf } from '../../support/policy/table-types.ts';
import type { Row } from '../../support/policy/table-types.ts';

const expressions = await loadAllExpressions();
const snapshotOf = (...objects: readonly object[]) => compile(objects.map(parsePolicy), { defaultAction: 'deny', expressions });
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
    { paths: [{ exact: '/a/../b' }] },
    { paths: [{ regex: '/v[0-9]+/' }] },
    { paths: [{ regex: '^/orders/$' }] },
    { paths: [{ regex: String.raw`\/orders\/` }] },
  ])('what never matches: %j', (clause) => {
    expect(found(orders('a', { rules: [{ to: [clause] }] }))).toEqual(['never_matches a#0']);
  });

  test.each(['/', '/?/', '/*/', '/a/?', '/a/|/b', '.*/', '/a/[/]?', '/a'])('an expression that may match: %s', (regex) => {
    expect(found(orders('a', { rules: [{ to: [{ paths: [{ regex }] }] }] }))).toEqual([]);
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

describe('rules over what is not recorded', () => {
  const header = { to: [{ headers: [{ name: 'x-tenant', exact: 'acme' }] }] };
  const other = { to: [{ headers: [{ name: 'x-tenant', exact: 'b' }] }] };
  const snapshot = snapshotOf(orders('a', { rules: [header, other, { from: [{ namespaces: ['billing'] }] }] }));
  const lacking = recorded(['web', 'GET /', '']);
  const call = { ...lacking.call, unrecorded: new Set(['request.headers' as const]) };
  const policy = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a' } as const;
  const unused = (each: RecordedCall) =>
    lint(snapshot, { calls: [each] }).flatMap(({ code, rule }) => (code === 'unused' ? [rule] : []));

  test('are not unused where they may have decided, nor where they did', () => {
    expect(unused({ ...lacking, call })).toEqual([2]);
    expect(unused({ ...lacking, call, decidedBy: [{ policy, rule: 0 }] })).toEqual([1, 2]);
    expect(unused({ ...lacking, call, decidedBy: [{ policy: { ...policy, name: 'gone' }, rule: 0 }] })).toEqual([2]);
  });

  test('a rule that allows for certain is used, also where another one may deny', () => {
    const deny = orders('deny', { action: 'DENY', rules: [header] });
    const findings = lint(snapshotOf(orders('a', { rules: [{ to: [{ methods: ['GET'] }] }] }), deny), {
      calls: [{ ...lacking, call }],
    });
    expect(findings.filter(({ code }) => code === 'unused')).toEqual([]);
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
    ['/{name}/42', { template: '/{name}/{id2}' }],
    ['/a*b', { exact: '/a*b' }],
    ['/a*b/42', undefined],
    ['/{a=**}', undefined],
    ['/x{id}', undefined],
    ['/a/{}', undefined],
  ])('%s', (path, expected) => {
    expect(inferTemplate(path)).toEqual(expected);
  });

  test.each(['/%7Ba=**%7D', '/%7Bid%7D', '/a/%7B', '/orders/%7Bx%7D/7'])('a request for %s is no template', (target) => {
    const path = normalizePath(target);
    expect(recordedPathOf(path)).toBeUndefined();
    // As an older agent, or a file, has it.
    const suggested = suggest([recorded(['web', `GET ${target}`, '']), recorded(['web', 'GET /orders', ''])]);
    const snapshot = compile(suggested.policies.map(parsePolicy), { defaultAction: 'deny' });
    expect(decide(snapshot, callOf(['web', 'GET /admin/all', ''])).verdict).toBe('deny');
  });

  test('what a recorder writes is known', () => {
    const path = recordedPathOf('/orders/42/items/9/x') ?? '';
    expect(path).toBe('/orders/{id}/items/{id2}/x');
    expect([path, '/orders', '/{name}', '/{a=**}', '/{id'].map(isWrittenByRecorder)).toEqual([true, true, false, false, false]);
  });

  test('hosts and ports as they were recorded, and no other combination', () => {
    const to = (port: number | undefined, host: string, path: string): RecordedCall => {
      const call = callOf(['web', `GET ${path}`, '', { host }]);
      const { spiffeId, namespace = '', serviceAccount = '', selectors } = call.destination;
      const destination = { ...(spiffeId && { spiffeId }), namespace, serviceAccount, selectors, ...(port && { port }) };
      return { call: { ...call, destination }, count: 1, lastSeenAtMs: 0 };
    };
    const calls = [
      to(80, 'orders', '/a'),
      to(80, 'orders.shop', '/a'),
      to(8080, 'orders', '/a'),
      to(80, 'orders', '/b'),
      to(undefined, 'orders', '/c'),
      to(80, 'orders', '/c'),
    ];
    const { policies } = suggest(calls);
    expect(policies).toMatchObject([
      {
        spec: {
          rules: [
            {
              to: [
                { ports: ['80'], hosts: ['orders'], methods: ['GET'], paths: [{ exact: '/a' }, { exact: '/b' }] },
                { ports: ['80'], hosts: ['orders.shop'], methods: ['GET'], paths: [{ exact: '/a' }] },
                { ports: ['8080'], hosts: ['orders'], methods: ['GET'], paths: [{ exact: '/a' }] },
                { hosts: ['orders'], methods: ['GET'], paths: [{ exact: '/c' }] },
              ],
            },
          ],
        },
      },
    ]);
    const snapshot = compile(policies.map(parsePolicy), { defaultAction: 'deny' });
    const verdicts = (each: readonly RecordedCall[]) => each.map(({ call }) => decide(snapshot, call).verdict);
    expect(verdicts(calls)).toEqual(calls.map(() => 'allow'));
    expect(verdicts([to(80, 'orders.shop', '/b'), to(8080, 'orders', '/b'), to(443, 'orders', '/a')])).toEqual([
      'deny',
      'deny',
      'deny',
    ]);
  });

  test('what is too much for a clause, a rule or a policy becomes several', () => {
    const many = (count: number, make: (index: number) => Row) => Array.from({ length: count }, (_, index) => make(index));
    const paths = many(3_000, (index) => ['web', `GET /a${index}x`, '']);
    const callers = many(1_500, () => ['web', 'GET /b', '']).map((row, index): RecordedCall => {
      const spiffeId = parseSpiffeId(`spiffe://example.org/caller/${index}`);
      return { ...recorded(row), call: { ...callOf(row), source: { spiffeId } } };
    });
    const distinct = many(100, (index) => ['web', `GET /c${index}x`, '']).map((row, index): RecordedCall => {
      const spiffeId = parseSpiffeId(`spiffe://example.org/distinct/${index}`);
      return { ...recorded(row), call: { ...callOf(row), source: { spiffeId } } };
    });
    const calls = [...paths.map((row) => recorded(row)), ...callers, ...distinct];
    const { policies, left } = suggest(calls);
    expect(left).toEqual([]);
    expect(policies.map(({ metadata }) => metadata)).toEqual(
      ['orders-callers', 'orders-callers-2'].map((name) => ({ name, namespace: 'shop' })),
    );
    const snapshot = compile(policies.map(parsePolicy), { defaultAction: 'deny' });
    expect(calls.filter(({ call }) => decide(snapshot, call).verdict === 'deny')).toEqual([]);
  });

  test('a destination that no policy can name loses no other', () => {
    const odd = callOf(['web', 'GET /', '']);
    const calls = [
      { call: { ...odd, destination: { ...odd.destination, serviceAccount: 'a'.repeat(300) } }, count: 2, lastSeenAtMs: 0 },
      recorded(['batch', 'GET /export', '', { to: 'ledger' }]),
    ];
    const { policies, left } = suggest(calls);
    expect(policies).toHaveLength(1);
    expect(left).toEqual([calls[0]]);
  });

  test('destinations of the same path in two trust domains have policies of different names', () => {
    const [one, other] = ['example.org', 'partner.example'].map((domain): RecordedCall => {
      const destination = { spiffeId: parseSpiffeId(`spiffe://${domain}/Host/db`), selectors: new Set<string>() };
      return { call: { ...callOf(['web', 'GET /', '']), destination }, count: 1, lastSeenAtMs: 0 };
    });
    const { policies } = suggest([one, other].flatMap((each) => each ?? []));
    expect(policies.map(({ metadata }) => metadata)).toEqual([{ name: 'host-db-callers' }, { name: 'host-db-callers-2' }]);
  });
});
