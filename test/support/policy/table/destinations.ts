import { authz, cluster, orders } from '../policy-objects.ts';
import type { Scenario } from '../table-types.ts';

/** Scenarios about what is called. */
export const DESTINATIONS: readonly Scenario[] = [
  {
    title: 'Namespaced policies stay in their namespace',
    text: '',
    policies: [authz('billing/all', { rules: [{}] })],
    rows: [
      ['web', 'GET /', 'allow billing/all#0', { to: 'ledger' }],
      ['web', 'GET /', 'deny default_deny'],
      ['web', 'GET /', 'deny default_deny', { to: 'catalog' }],
      ['web', 'GET /', 'deny default_deny', { to: 'db' }],
    ],
  },
  {
    title: 'Selectors',
    text: '',
    policies: [
      authz('in', {
        selector: {
          matchExpressions: [
            { key: 'app', operator: 'In', values: ['orders', 'x'] },
            { key: 'tier', operator: 'Exists' },
          ],
        },
        rules: [{}],
      }),
      authz('not', {
        selector: {
          matchExpressions: [
            { key: 'tier', operator: 'DoesNotExist' },
            { key: 'app', operator: 'NotIn', values: ['orders'] },
          ],
        },
        rules: [{ from: [{ namespaces: ['shop'] }] }],
      }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/in#0', { to: 'orders' }],
      ['web', 'GET /', 'allow shop/not#0', { to: 'catalog' }],
      ['web', 'GET /', 'deny default_deny', { to: 'ledger' }],
      ['web', 'GET /', 'deny default_deny', { to: 'db' }],
      ['batch', 'GET /', 'allow shop/in#0', { to: 'orders' }],
      ['batch', 'GET /', 'deny no_rule_matches', { to: 'catalog' }],
      ['batch', 'GET /', 'deny default_deny', { to: 'ledger' }],
      ['batch', 'GET /', 'deny default_deny', { to: 'db' }],
    ],
  },
  {
    title: 'By service account',
    text: '',
    policies: [authz('p', { targetRefs: [{ kind: 'ServiceAccount', name: 'catalog' }], rules: [{}] })],
    rows: [
      ['web', 'GET /', 'deny default_deny', { to: 'orders' }],
      ['web', 'GET /', 'allow shop/p#0', { to: 'catalog' }],
      ['web', 'GET /', 'deny default_deny', { to: 'ledger' }],
      ['web', 'GET /', 'deny default_deny', { to: 'db' }],
    ],
  },
  {
    title: 'By SPIFFE ID, without Kubernetes',
    text: '',
    isShown: true,
    policies: [
      cluster('p', {
        spiffeIDs: ['spiffe://example.org/host/*'],
        rules: [{ from: [{ spiffeIDs: ['spiffe://example.org/host/**'] }] }],
      }),
    ],
    rows: [
      ['web', 'connect', 'deny no_rule_matches', { to: 'db' }],
      ['batch', 'connect', 'deny no_rule_matches', { to: 'db' }],
      ['admin', 'connect', 'deny no_rule_matches', { to: 'db' }],
      ['partner', 'connect', 'deny no_rule_matches', { to: 'db' }],
      ['host', 'connect', 'allow p#0', { to: 'db' }],
      ['nobody', 'connect', 'deny no_rule_matches', { to: 'db' }],
      ['host', 'GET /', 'deny default_deny'],
      ['host', 'GET /', 'deny default_deny', { to: 'ledger' }],
    ],
  },
  {
    title: 'By what was attested',
    text: '',
    policies: [cluster('p', { attested: ['unix:uid:1000', 'unix:user:postgres'], rules: [{ to: [{ ports: ['5432'] }] }] })],
    rows: [
      ['web', 'connect', 'allow p#0', { to: 'db' }],
      ['nobody', 'connect', 'allow p#0', { to: 'db' }],
      ['web', 'connect', 'deny default_deny'],
    ],
  },
  {
    title: 'For everything',
    text: 'A policy of the cluster without any restriction is about every workload.',
    defaultAction: 'allow',
    policies: [cluster('mesh', { action: 'DENY', rules: [{ from: [{ not: { trustDomains: ['example.org'] } }] }] })],
    rows: [
      ['web', 'GET /', 'allow default_allow', { to: 'orders' }],
      ['web', 'GET /', 'allow default_allow', { to: 'ledger' }],
      ['web', 'GET /', 'allow default_allow', { to: 'db' }],
      ['partner', 'GET /', 'deny mesh#0', { to: 'orders' }],
      ['partner', 'GET /', 'deny mesh#0', { to: 'ledger' }],
      ['partner', 'GET /', 'deny mesh#0', { to: 'db' }],
      ['nobody', 'GET /', 'deny mesh#0', { to: 'orders' }],
      ['nobody', 'GET /', 'deny mesh#0', { to: 'ledger' }],
      ['nobody', 'GET /', 'deny mesh#0', { to: 'db' }],
    ],
  },
  {
    title: 'Two levels',
    text: 'Coarse rules at the edge, fine ones at the service: each decides for itself.',
    policies: [
      authz('edge', { selector: { matchLabels: { app: 'catalog' } }, rules: [{}] }),
      orders('fine', { rules: [{ from: [{ serviceAccounts: ['web'] }] }] }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/edge#0', { to: 'catalog' }],
      ['web', 'GET /', 'allow shop/fine#0', { to: 'orders' }],
      ['partner', 'GET /', 'allow shop/edge#0', { to: 'catalog' }],
      ['partner', 'GET /', 'deny no_rule_matches', { to: 'orders' }],
    ],
  },
];
