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
