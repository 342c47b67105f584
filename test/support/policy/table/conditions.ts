import { orders } from '../policy-objects.ts';
import type { Scenario } from '../table-types.ts';

const lines = (name: string, ...values: readonly string[]) => values.map((value) => [name, value] as const);

/** Scenarios about conditions in CEL. */
export const CONDITIONS: readonly Scenario[] = [
  {
    title: 'A header',
    text: 'A condition that fails, as over a header that is not there, does not hold for ALLOW.',
    isShown: true,
    policies: [orders('p', { rules: [{ when: 'request.headers["x-tenant"] == "acme"' }] })],
    rows: [
      ['web', 'GET /', 'deny no_rule_matches'],
      ['web', 'GET /', 'allow shop/p#0', { headers: [['x-tenant', 'acme']] }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: [['x-tenant', 'b']] }],
      ['web', 'connect', 'deny no_rule_matches'],
    ],
  },
  {
    title: 'A condition that fails, for DENY',
    text: 'It holds for DENY.',
    isShown: true,
    policies: [
      orders('all', { rules: [{}] }),
      orders('d', { action: 'DENY', rules: [{ when: 'request.headers["x-tenant"] == "evil"' }] }),
    ],
    rows: [
      ['web', 'GET /', 'deny shop/d#0'],
      ['web', 'GET /', 'allow shop/all#0', { headers: [['x-tenant', 'acme']] }],
      ['web', 'GET /', 'deny shop/d#0', { headers: [['x-tenant', 'evil']] }],
      ['web', 'connect', 'deny shop/d#0'],
    ],
  },
  {
    title: 'A condition over a header in several lines',
    text: 'It is judged with the lines joined, and with each of them; where that differs, it fails.',
    policies: [
      orders('p', { rules: [{ when: '!("x-tenant" in request.headers) || request.headers["x-tenant"].startsWith("acme")' }] }),
      orders('d', { action: 'DENY', rules: [{ when: '"x-role" in request.headers && request.headers["x-role"] == "evil"' }] }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/p#0'],
      ['web', 'GET /', 'allow shop/p#0', { headers: lines('x-tenant', 'acme-1', 'acme-2') }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: lines('x-tenant', 'acme-1', 'evil') }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: lines('x-tenant', 'acme-1', 'evil', 'acme-2') }],
      ['web', 'GET /', 'deny shop/d#0', { headers: lines('x-role', 'evil', 'evil') }],
      ['web', 'GET /', 'deny shop/d#0', { headers: lines('x-role', 'a', 'evil') }],
      ['web', 'GET /', 'deny shop/d#0', { headers: lines('x-role', 'a', 'evil', 'b') }],
      ['web', 'GET /', 'allow shop/p#0', { headers: lines('x-role', 'a', 'b') }],
      ['web', 'GET /', 'deny shop/d#0', { headers: lines('x-role', 'a', 'b', 'c', 'd', 'e') }],
    ],
  },
  {
    title: 'A condition over bytes beyond ASCII',
    text: '',
    policies: [
      orders('all', { rules: [{}] }),
      orders('d', {
        action: 'DENY',
        rules: [{ when: '"x-role" in request.headers && request.headers["x-role"] == "gar\u00e7on"' }],
      }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/all#0'],
      ['web', 'GET /', 'deny shop/d#0', { headers: lines('x-role', 'gar\u00c3\u00a7on') }],
      ['web', 'GET /', 'allow shop/all#0', { headers: lines('x-role', 'ni\u00c3\u00b1o') }],
      ['web', 'GET /', 'allow shop/all#0', { headers: lines('x-role', 'guest') }],
    ],
  },
  {
    title: 'A condition over gRPC',
    text: '',
    policies: [
      orders('all', { rules: [{}] }),
      orders('d', { action: 'DENY', rules: [{ when: 'has(request.grpc) && request.grpc.method == "Delete"' }] }),
    ],
    rows: [
      ['web', 'POST /shop.v1.Orders/Delete', 'deny shop/d#0', { headers: lines('content-type', 'application/grpc') }],
      ['web', 'POST /shop.v1.Orders/Delete', 'deny shop/d#0', { headers: lines('content-type', 'application/grpcx') }],
      ['web', 'PUT /shop.v1.Orders/Delete', 'deny shop/d#0'],
      ['web', 'POST /shop.v1.Orders/Get', 'allow shop/all#0'],
      ['web', 'GET /', 'allow shop/all#0'],
    ],
  },
  {
    title: 'A claim',
    text: '',
    policies: [
      orders('p', { rules: [{ when: 'has(user.claims.tenant) && request.headers["x-tenant"] == user.claims.tenant' }] }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { headers: [['x-tenant', 'acme']], user: 'alice' }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: [['x-tenant', 'b']], user: 'alice' }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: [['x-tenant', 'acme']], user: 'bob' }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: [['x-tenant', 'acme']] }],
    ],
  },
  {
    title: 'A list of a claim',
    text: '',
    policies: [orders('p', { rules: [{ when: 'user.claims.roles.exists(role, role == "admin")' }] })],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { user: 'alice' }],
      ['web', 'GET /', 'deny no_rule_matches', { user: 'bob' }],
      ['web', 'GET /', 'deny no_rule_matches'],
    ],
  },
  {
    title: 'Source, destination and time',
    text: '',
    policies: [
      orders('p', {
        rules: [
          { when: 'source.trustDomain == "example.org" && destination.port == 8443 && now < timestamp("2030-01-01T00:00:00Z")' },
        ],
      }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/p#0'],
      ['batch', 'GET /', 'allow shop/p#0'],
      ['admin', 'GET /', 'allow shop/p#0'],
      ['partner', 'GET /', 'deny no_rule_matches'],
      ['host', 'GET /', 'allow shop/p#0'],
      ['nobody', 'GET /', 'deny no_rule_matches'],
      ['web', 'connect', 'allow shop/p#0'],
      ['web', 'GET /', 'deny no_rule_matches', { unseen: ['source.spiffeId'] }],
    ],
  },
  {
    title: 'matches runs in linear time',
    text: '',
    policies: [orders('p', { rules: [{ when: 'request.path.matches("^/(a+)+$")' }] })],
    rows: [
      ['web', 'GET /aaaa', 'allow shop/p#0'],
      ['web', `GET /${'a'.repeat(40)}!`, 'deny no_rule_matches'],
      ['web', 'GET /b', 'deny no_rule_matches'],
    ],
  },
];
