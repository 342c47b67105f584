import { orders } from '../policy-objects.ts';
import type { Scenario } from '../table-types.ts';

/** Scenarios about what an enforcement point cannot see. */
export const CONNECTIONS: readonly Scenario[] = [
  {
    title: 'ALLOW on a connection',
    text: 'Where requests are not seen, an ALLOW rule with a field of the request does not match.',
    isShown: true,
    policies: [
      orders('p', {
        rules: [{ from: [{ namespaces: ['shop'] }], to: [{ methods: ['GET'] }] }, { from: [{ namespaces: ['billing'] }] }],
      }),
    ],
    rows: [
      ['web', 'connect', 'deny no_rule_matches'],
      ['batch', 'connect', 'allow shop/p#1'],
      ['admin', 'connect', 'deny no_rule_matches'],
      ['partner', 'connect', 'deny no_rule_matches'],
      ['host', 'connect', 'deny no_rule_matches'],
      ['nobody', 'connect', 'deny no_rule_matches'],
      ['web', 'GET /', 'allow shop/p#0'],
      ['batch', 'GET /', 'allow shop/p#1'],
    ],
  },
  {
    title: 'DENY on a connection',
    text: 'A DENY rule with a field of the request holds for the whole connection.',
    isShown: true,
    policies: [
      orders('all', { rules: [{}] }),
      orders('no-delete', { action: 'DENY', rules: [{ from: [{ namespaces: ['billing'] }], to: [{ methods: ['DELETE'] }] }] }),
    ],
    rows: [
      ['web', 'connect', 'allow shop/all#0'],
      ['batch', 'connect', 'deny shop/no-delete#0'],
      ['admin', 'connect', 'allow shop/all#0'],
      ['partner', 'connect', 'allow shop/all#0'],
      ['host', 'connect', 'allow shop/all#0'],
      ['nobody', 'connect', 'allow shop/all#0'],
      ['batch', 'GET /', 'allow shop/all#0'],
      ['batch', 'DELETE /', 'deny shop/no-delete#0'],
    ],
  },
  {
    title: 'DENY with not on a connection',
    text: '',
    policies: [
      orders('all', { rules: [{}] }),
      orders('get-only', { action: 'DENY', rules: [{ to: [{ not: { methods: ['GET'] } }] }] }),
    ],
    rows: [
      ['web', 'connect', 'deny shop/get-only#0'],
      ['web', 'GET /', 'allow shop/all#0'],
      ['web', 'POST /', 'deny shop/get-only#0'],
    ],
  },
  {
    title: 'What a point cannot see',
    text: 'The same holds for each field that an enforcement point cannot see.',
    policies: [
      orders('p', {
        rules: [
          { from: [{ namespaces: ['shop'] }] },
          { from: [{ ipBlocks: ['10.0.0.0/8'] }] },
          { to: [{ headers: [{ name: 'x', present: true }] }] },
        ],
      }),
      orders('d', { action: 'DENY', rules: [{ from: [{ users: [{ subjects: ['bob'] }] }] }] }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/p#0'],
      ['web', 'GET /', 'allow shop/p#1', { unseen: ['source.workload'] }],
      ['web', 'GET /', 'deny no_rule_matches', { unseen: ['source.workload', 'source.address'] }],
      ['web', 'GET /', 'deny no_rule_matches', { unseen: ['source.workload', 'source.address', 'request.headers'] }],
      ['web', 'GET /', 'deny shop/d#0', { unseen: ['user'] }],
      ['web', 'GET /', 'deny shop/d#0', { user: 'bob' }],
      ['web', 'GET /', 'allow shop/p#0', { user: 'alice' }],
      ['web', 'connect', 'deny shop/d#0'],
    ],
  },
];
