// Random policies and calls over few values, so that they often meet.
import * as fc from 'fast-check';
import { readIpAddress } from '../../../policy/match/ip.ts';
import type { Call, CallField, Destination, Source } from '../../../policy/model.ts';
import type { RawHeader } from '../../../policy/normalize/headers.ts';
import { normalizeRequest } from '../../../policy/normalize/request.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import type { Policy } from '../../../policy/policy.ts';
import { parseSpiffeId } from '../../../spiffe/spiffe-id.ts';
import { CONDITIONS } from './conditions.ts';

const some = <T>(...values: readonly T[]): fc.Arbitrary<readonly T[]> =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 });
/** Fewer fields match more often. */
const few = <T extends object>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<Partial<T>> =>
  fc
    .subarray(Object.keys(fields) as (keyof T)[], { minLength: 1, maxLength: 2 })
    .chain((keys) => fc.record(Object.fromEntries(keys.map((key) => [key, fields[key]])) as never));

const users = few({
  issuer: fc.constantFrom('https://login.example.org', 'https://other.example'),
  subjects: some('alice', 'bob', 'al*', '*'),
  roles: some('admin', 'reader'),
  scopes: some('orders.read', 'orders.write'),
});
const sourceFields = {
  spiffeIDs: some(
    'spiffe://example.org/ns/shop/sa/web',
    'spiffe://example.org/ns/*/sa/web',
    'spiffe://example.org/**',
    'spiffe://*/ns/shop/**',
    'spiffe://partner.example/batch',
    'spiffe://example.org/ns/shop/sa/w*b',
  ),
  trustDomains: some('example.org', 'partner.example'),
  namespaces: some('shop', 'billing', 's*', '*'),
  serviceAccounts: some('web', 'shop/web', '*/batch', 'shop/*', 'billing/w*'),
  ipBlocks: some('10.0.0.0/8', '10.1.2.3', '192.168.0.0/16', '0.0.0.0/0'),
  users: fc.array(users, { minLength: 1, maxLength: 2 }),
};
const source = fc
  .tuple(few(sourceFields), fc.option(few(sourceFields), { nil: undefined, freq: 3 }))
  .map(([fields, not]) => ({ ...fields, ...(not === undefined ? {} : { not }) }));

const path = fc.oneof(
  fc.constantFrom('/', '/orders', '/orders/7', '/admin', '/static/').map((exact) => ({ exact })),
  fc.constantFrom('/', '/orders', '/orders/', '/adm').map((prefix) => ({ prefix })),
  fc.constantFrom('.css', '7', 's', '/', '/7/').map((suffix) => ({ suffix })),
  fc.constantFrom('/orders/{id}', '/{a}/{b}', '/orders/{rest=**}', '/{x}', '/').map((template) => ({ template })),
  fc.constantFrom('/orders/[0-9]+', '/(orders|admin)', '.*', '/[a-z]+').map((regex) => ({ regex })),
);
const header = fc
  .tuple(
    fc.constantFrom('X-Tenant', 'x-debug'),
    fc.oneof(
      fc.boolean().map((present) => ({ present })),
      fc.constantFrom('acme', '1').map((exact) => ({ exact })),
      fc.constantFrom('ac', '1').map((prefix) => ({ prefix })),
      fc.constantFrom('me', '0').map((suffix) => ({ suffix })),
      fc.constantFrom('a.*', '[0-9]').map((regex) => ({ regex })),
    ),
  )
  .map(([name, match]) => ({ name, ...match }));
const operationFields = {
  ports: some('443', '8000-9000', '80'),
  hosts: some('orders.shop', '*.shop', 'shop', '*', '*.example.org'),
  methods: some('GET', 'POST', 'DELETE'),
  paths: fc.array(path, { minLength: 1, maxLength: 2 }),
  headers: fc.array(header, { minLength: 1, maxLength: 2 }),
  grpc: fc.array(few({ service: fc.constantFrom('shop.v1.Orders', 'shop.*', '*'), method: fc.constantFrom('Get', 'G*') }), {
    minLength: 1,
    maxLength: 2,
  }),
};
const operation = fc
  .tuple(few(operationFields), fc.option(few(operationFields), { nil: undefined, freq: 3 }))
  .map(([fields, not]) => ({ ...fields, ...(not === undefined ? {} : { not }) }));

const rule = few({
  from: fc.array(source, { minLength: 1, maxLength: 2 }),
  to: fc.array(operation, { minLength: 1, maxLength: 2 }),
  when: fc.constantFrom(...CONDITIONS.keys()),
});
const selector = fc.constantFrom(
  { matchLabels: { app: 'orders' } },
  { matchLabels: { app: 'web' } },
  { matchExpressions: [{ key: 'app', operator: 'In', values: ['orders', 'web'] }] },
  { matchExpressions: [{ key: 'tier', operator: 'DoesNotExist' }] },
  { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['web'] }] },
);
const common = {
  action: fc.constantFrom('ALLOW', 'ALLOW', 'DENY', 'AUDIT'),
  mode: fc.constantFrom('Enforce', 'Enforce', 'DryRun'),
  rules: fc.oneof(
    { weight: 8, arbitrary: fc.array(rule, { maxLength: 3, size: 'max' }) },
    { weight: 1, arbitrary: fc.constant([{}]) },
  ),
};
/** At most one restriction, so that most policies concern most calls. */
const target = (...restrictions: readonly fc.Arbitrary<object>[]): fc.Arbitrary<object> =>
  fc.oneof(
    { weight: restrictions.length, arbitrary: fc.constant({}) },
    ...restrictions.map((arbitrary) => ({ weight: 1, arbitrary })),
  );
const ofPods = [
  selector.map((each) => ({ selector: each })),
  some('unix:uid:1000', 'k8s:ns:shop').map((attested) => ({ attested })),
];
const namespacedSpec = fc
  .tuple(
    fc.record(common),
    target(
      ...ofPods,
      fc.constantFrom('orders', 'web').map((name) => ({ targetRefs: [{ kind: 'ServiceAccount', name }] })),
    ),
  )
  .map(([spec, restriction]) => ({ ...spec, ...restriction }));
const clusterSpec = fc
  .tuple(
    fc.record(common),
    target(
      ...ofPods,
      fc.constant({ namespaceSelector: { matchLabels: { team: 'shop' } } }),
      some('spiffe://example.org/ns/shop/sa/orders', 'spiffe://example.org/**', 'spiffe://example.org/host').map((spiffeIDs) => ({
        spiffeIDs,
      })),
    ),
  )
  .map(([spec, restriction]) => ({ ...spec, ...restriction }));

const names = ['a', 'b', 'c', 'd'] as const;

/** A policy of either kind. */
export const policy: fc.Arbitrary<Policy> = fc.oneof(
  fc
    .tuple(fc.constantFrom(...names), fc.constantFrom('shop', 'shop', 'billing'), namespacedSpec)
    .map(([name, namespace, spec]) => parsePolicy({ kind: 'AuthorizationPolicy', metadata: { name, namespace }, spec })),
  fc.tuple(fc.constantFrom(...names), fc.constantFrom(undefined, ['shop'], []), clusterSpec).map(([name, namespaces, spec]) => ({
    ...parsePolicy({ kind: 'ClusterAuthorizationPolicy', metadata: { name }, spec }),
    ...(namespaces === undefined ? {} : { namespaces }),
  })),
);

/** Policies with different names. */
export const policies: fc.Arbitrary<readonly Policy[]> = fc.uniqueArray(policy, {
  minLength: 1,
  maxLength: 6,
  size: 'max',
  selector: ({ name }) => `${name.namespace}/${name.name}`,
});

const shop = { namespace: 'shop', serviceAccount: 'web', spiffeId: parseSpiffeId('spiffe://example.org/ns/shop/sa/web') };
/** Who calls. */
export const callers: readonly Source[] = [
  shop,
  { namespace: 'billing', serviceAccount: 'web', spiffeId: parseSpiffeId('spiffe://example.org/ns/billing/sa/web') },
  { namespace: 'billing', serviceAccount: 'batch', spiffeId: parseSpiffeId('spiffe://example.org/batch') },
  { spiffeId: parseSpiffeId('spiffe://partner.example/batch') },
  { spiffeId: parseSpiffeId('spiffe://example.org') },
  {},
];
const addresses = ['10.1.2.3', '192.168.7.1', '2001:db8::1'].map(readIpAddress);
/** What is called. */
export const destinations: readonly Destination[] = [
  {
    namespace: 'shop',
    serviceAccount: 'orders',
    spiffeId: parseSpiffeId('spiffe://example.org/ns/shop/sa/orders'),
    selectors: new Set(['k8s:ns:shop', 'k8s:pod-label:app:orders', 'k8s:pod-label:tier:back']),
    port: 443,
  },
  { namespace: 'shop', serviceAccount: 'web', selectors: new Set(['k8s:ns:shop', 'k8s:pod-label:app:web']), port: 8080 },
  { namespace: 'billing', serviceAccount: 'orders', selectors: new Set(['k8s:pod-label:app:orders']) },
  { spiffeId: parseSpiffeId('spiffe://example.org/host'), selectors: new Set(['unix:uid:1000']), port: 80 },
];
const request = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'POST', 'DELETE', 'PUT'),
    target: fc.constantFrom(
      '/',
      '/orders',
      '/orders/7',
      '/orders/7/items',
      '/admin',
      '/static/a.css',
      '//orders/./7/',
      '/a%2fb',
      '/shop.v1.Orders/Get',
      '/shop.v1.Orders/Get/',
      '/shop.v1.Orders/Delete',
      '/admin/../orders',
      '/orders/%2e/7',
      '/../orders',
    ),
    authority: fc.constantFrom('orders.shop', 'shop', 'a.b.example.org', ''),
    headers: fc
      .tuple(
        fc.array(fc.constantFrom('acme', 'acme', 'evil', 'ac', 'a\u00e9', 'ac\u00c3\u00a9me', '1'), { maxLength: 3, size: '-1' }),
        fc.subarray<[string, string]>([
          ['x-debug', '1'],
          ['X-Debug', '0'],
        ]),
        fc.constantFrom(
          undefined,
          'application/grpc',
          'application/grpc',
          'application/grpcx',
          'application/grpc ;a',
          'application/grpc-web',
        ),
      )
      .map(([tenants, debug, type]): readonly RawHeader[] => [
        ...tenants.map((tenant) => ['X-Tenant', tenant] as const),
        ...debug,
        ...(type === undefined ? [] : [['content-type', type] as const]),
      ]),
  })
  .map(normalizeRequest);
const user = fc.record({
  issuer: fc.constantFrom('https://login.example.org', 'https://other.example'),
  subject: fc.constantFrom('alice', 'bob'),
  claims: fc.constantFrom(
    {},
    { roles: ['admin'], scope: 'orders.read orders.write' },
    { roles: ['reader'], scp: ['orders.read'] },
    { roles: 'admin', scp: 'orders.read' },
    { roles: ['admin', 7], scope: ['orders.read'] },
    { roles: { admin: true }, scope: 'orders.read', scp: 1 },
    { roles: null, scp: ['orders.read', null] },
  ),
  actors: fc.constant([]),
});
const unseen = fc.uniqueArray(
  fc.constantFrom<CallField>('source.workload', 'source.address', 'request.headers', 'user', 'destination.port'),
  { minLength: 1, maxLength: 2 },
);

/** A call: with a request or without, with a user or without. */
export const call: fc.Arbitrary<Call> = fc
  .record({
    source: fc.constantFrom(...callers),
    address: fc.option(fc.constantFrom(...addresses)),
    destination: fc.constantFrom(...destinations.slice(0, 1), ...destinations),
    seen: fc.option(request, { freq: 5 }),
    user: fc.option(user),
    unseen: fc.option(unseen, { freq: 1 }),
  })
  .map(({ source, address, destination, seen, user, unseen }) => ({
    source: { ...source, ...(address === null || address === undefined ? {} : { address }) },
    destination,
    ...seen,
    ...(user === null ? {} : { user }),
    ...(unseen === null ? {} : { unseen: new Set(unseen) }),
    atMs: 0,
  }));
