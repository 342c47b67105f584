// Who and what occurs in the conformance table.
import { readIpAddress } from '../../../policy/match/ip.ts';
import type { Destination, Source, User } from '../../../policy/model.ts';
import { parseSpiffeId } from '../../../spiffe/spiffe-id.ts';

function caller(
  id: string | undefined,
  address: string,
  workload?: readonly [namespace: string, serviceAccount: string],
): Source {
  const ip = readIpAddress(address);
  return {
    ...(id === undefined ? {} : { spiffeId: parseSpiffeId(`spiffe://${id}`) }),
    ...(workload === undefined ? {} : { namespace: workload[0], serviceAccount: workload[1] }),
    ...(ip === undefined ? {} : { address: ip }),
  };
}

/** Callers by their names in the table. */
export const CALLERS = {
  web: caller('example.org/ns/shop/sa/web', '10.1.2.3', ['shop', 'web']),
  batch: caller('example.org/ns/billing/sa/batch', '10.9.0.4', ['billing', 'batch']),
  admin: caller('example.org/ns/platform/sa/admin', '10.9.0.5', ['platform', 'admin']),
  partner: caller('partner.example/gateway', '203.0.113.9'),
  host: caller('example.org/host/db1', '2001:db8::1'),
  nobody: caller(undefined, '192.168.7.1'),
} as const satisfies Readonly<Record<string, Source>>;

/** Destinations by their names in the table. */
export const DESTINATIONS = {
  orders: {
    namespace: 'shop',
    serviceAccount: 'orders',
    spiffeId: parseSpiffeId('spiffe://example.org/ns/shop/sa/orders'),
    selectors: new Set(['k8s:ns:shop', 'k8s:sa:orders', 'k8s:pod-label:app:orders', 'k8s:pod-label:tier:back']),
    port: 8443,
  },
  catalog: {
    namespace: 'shop',
    serviceAccount: 'catalog',
    spiffeId: parseSpiffeId('spiffe://example.org/ns/shop/sa/catalog'),
    selectors: new Set(['k8s:ns:shop', 'k8s:sa:catalog', 'k8s:pod-label:app:catalog']),
    port: 8080,
  },
  ledger: {
    namespace: 'billing',
    serviceAccount: 'ledger',
    spiffeId: parseSpiffeId('spiffe://example.org/ns/billing/sa/ledger'),
    selectors: new Set(['k8s:ns:billing', 'k8s:pod-label:app:ledger']),
    port: 443,
  },
  db: {
    spiffeId: parseSpiffeId('spiffe://example.org/host/db'),
    selectors: new Set(['unix:uid:1000', 'unix:user:postgres']),
    port: 5432,
  },
} as const satisfies Readonly<Record<string, Destination>>;

const login = 'https://login.example.org';

/** Users by their names in the table. */
export const USERS = {
  alice: {
    issuer: login,
    subject: 'alice',
    claims: { roles: ['admin'], scope: 'orders.read orders.write', tenant: 'acme' },
    actors: [],
  },
  bob: { issuer: login, subject: 'bob', claims: { roles: ['reader'], scp: ['orders.read'] }, actors: [] },
  // Roles and scopes as some issuers write them.
  carol: { issuer: login, subject: 'carol', claims: { roles: 'admin' }, actors: [] },
  dave: { issuer: login, subject: 'dave', claims: { roles: ['reader', 7], scp: { 'orders.read': true } }, actors: [] },
  erin: { issuer: login, subject: 'erin', claims: { roles: { admin: true }, scp: 'orders.read' }, actors: [] },
  mallory: {
    issuer: 'https://login.attacker.example',
    subject: 'alice',
    claims: { roles: ['admin'], scope: 'orders.write' },
    actors: [],
  },
} as const satisfies Readonly<Record<string, User>>;
