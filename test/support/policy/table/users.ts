import { orders } from '../policy-objects.ts';
import type { Scenario } from '../table-types.ts';

/** Scenarios about users. */
export const USERS: readonly Scenario[] = [
  {
    title: 'Roles and scopes',
    text: '',
    isShown: true,
    policies: [
      orders('p', {
        rules: [
          { from: [{ users: [{ issuer: 'https://login.example.org', roles: ['admin'] }] }], to: [{ methods: ['DELETE'] }] },
          { from: [{ users: [{ issuer: 'https://login.example.org', scopes: ['orders.read'] }] }], to: [{ methods: ['GET'] }] },
          {
            from: [{ users: [{ issuer: 'https://login.example.org', scopes: ['orders.read', 'orders.write'] }] }],
            to: [{ methods: ['POST'] }],
          },
        ],
      }),
    ],
    rows: [
      ['web', 'GET /orders', 'allow shop/p#1', { user: 'alice' }],
      ['web', 'POST /orders', 'allow shop/p#2', { user: 'alice' }],
      ['web', 'DELETE /orders', 'allow shop/p#0', { user: 'alice' }],
      ['web', 'GET /orders', 'allow shop/p#1', { user: 'bob' }],
      ['web', 'POST /orders', 'deny no_rule_matches', { user: 'bob' }],
      ['web', 'DELETE /orders', 'deny no_rule_matches', { user: 'bob' }],
      ['web', 'GET /orders', 'deny no_rule_matches', { user: 'mallory' }],
      ['web', 'POST /orders', 'deny no_rule_matches', { user: 'mallory' }],
      ['web', 'DELETE /orders', 'deny no_rule_matches', { user: 'mallory' }],
      ['web', 'GET /orders', 'deny no_rule_matches'],
      ['web', 'connect', 'deny no_rule_matches'],
    ],
  },
  {
    title: 'Subjects',
    text: '',
    policies: [orders('p', { rules: [{ from: [{ users: [{ issuer: 'https://login.example.org', subjects: ['al*'] }] }] }] })],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { user: 'alice' }],
      ['web', 'GET /', 'deny no_rule_matches', { user: 'bob' }],
      ['web', 'GET /', 'deny no_rule_matches', { user: 'mallory' }],
      ['web', 'GET /', 'deny no_rule_matches'],
    ],
  },
  {
    title: 'Not a user',
    text: 'Without a token nobody can say who a user is not.',
    policies: [orders('p', { rules: [{ from: [{ not: { users: [{ roles: ['reader'] }] } }] }] })],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { user: 'alice' }],
      ['web', 'GET /', 'deny no_rule_matches', { user: 'bob' }],
      ['web', 'GET /', 'deny no_rule_matches'],
    ],
  },
  {
    title: 'Roles of other shapes',
    text: 'One text is one role; of what is no list of texts nobody can say which roles it means.',
    policies: [
      orders('p', { rules: [{ from: [{ users: [{ roles: ['admin'] }] }] }] }),
      orders('d', { action: 'DENY', rules: [{ from: [{ users: [{ roles: ['banned'] }] }] }] }),
      orders('q', { rules: [{ from: [{ not: { users: [{ roles: ['reader'] }] } }] }] }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { user: 'alice' }],
      ['web', 'GET /', 'allow shop/p#0', { user: 'carol' }],
      ['web', 'GET /', 'deny shop/d#0', { user: 'dave' }],
      ['web', 'GET /', 'deny shop/d#0', { user: 'erin' }],
    ],
  },
  {
    title: 'Users of no role, and of roles of another shape',
    text: '',
    policies: [
      orders('p', { rules: [{ from: [{ users: [{ roles: ['admin', 'reader'] }] }] }] }),
      orders('q', { rules: [{ from: [{ not: { users: [{ roles: ['reader'] }] } }], to: [{ paths: [{ exact: '/not' }] }] }] }),
      orders('s', { rules: [{ from: [{ users: [{ scopes: ['orders.read'] }] }], to: [{ paths: [{ exact: '/scopes' }] }] }] }),
    ],
    rows: [
      ['web', 'GET /not', 'allow shop/p#0', { user: 'carol' }],
      ['web', 'GET /not', 'deny no_rule_matches', { user: 'dave' }],
      ['web', 'GET /not', 'deny no_rule_matches', { user: 'erin' }],
      ['web', 'GET /scopes', 'deny no_rule_matches', { user: 'dave' }],
      ['web', 'GET /scopes', 'allow shop/s#0', { user: 'erin' }],
    ],
  },
  {
    title: 'Service and user together',
    text: '',
    policies: [orders('p', { rules: [{ from: [{ serviceAccounts: ['web'], users: [{ roles: ['admin'] }] }] }] })],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { user: 'alice' }],
      ['web', 'GET /', 'deny no_rule_matches', { user: 'bob' }],
      ['batch', 'GET /', 'deny no_rule_matches', { user: 'alice' }],
      ['batch', 'GET /', 'deny no_rule_matches', { user: 'bob' }],
      ['web', 'GET /', 'deny no_rule_matches'],
    ],
  },
];
