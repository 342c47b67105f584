import { orders } from '../policy-objects.ts';
import type { Scenario } from '../table-types.ts';

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
