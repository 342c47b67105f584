import { authz, orders } from '../policy-objects.ts';
import type { Scenario } from '../table-types.ts';

const lines = (...values: readonly string[]) => values.map((value) => ['x-tenant', value] as const);

/** Scenarios about what is asked for. */
export const OPERATIONS: readonly Scenario[] = [
  {
    title: 'Methods',
    text: '',
    policies: [orders('p', { rules: [{ to: [{ methods: ['GET', 'HEAD', 'PURGE'] }] }] })],
    rows: [
      ['web', 'GET /orders', 'allow shop/p#0'],
      ['web', 'HEAD /orders', 'allow shop/p#0'],
      ['web', 'POST /orders', 'deny no_rule_matches'],
      ['web', 'PUT /orders', 'deny no_rule_matches'],
      ['web', 'DELETE /orders', 'deny no_rule_matches'],
      ['web', 'OPTIONS /orders', 'deny no_rule_matches'],
      ['web', 'PURGE /orders', 'allow shop/p#0'],
      ['web', 'get /orders', 'deny method_case'],
      ['web', 'Get /orders', 'deny method_case'],
      ['web', 'purge /orders', 'deny no_rule_matches'],
      ['web', 'GE\u0001T /orders', 'deny method_invalid'],
    ],
  },
  {
    title: 'Exact paths',
    text: '',
    policies: [orders('p', { rules: [{ to: [{ paths: [{ exact: '/orders' }, { exact: '/static/' }, { exact: '/' }] }] }] })],
    rows: [
      ['web', 'GET /orders', 'allow shop/p#0'],
      ['web', 'GET /orders/', 'allow shop/p#0'],
      ['web', 'GET /orders?a=1', 'allow shop/p#0'],
      ['web', 'GET /orders/7', 'deny no_rule_matches'],
      ['web', 'GET /ordersx', 'deny no_rule_matches'],
      ['web', 'GET /Orders', 'deny no_rule_matches'],
      ['web', 'GET /', 'allow shop/p#0'],
      ['web', 'GET //', 'deny path_leading_slashes'],
      ['web', 'GET /static', 'allow shop/p#0'],
      ['web', 'GET /static/', 'allow shop/p#0'],
      ['web', 'GET /static/a', 'deny no_rule_matches'],
    ],
  },
  {
    title: 'Prefixes end at a segment',
    text: '',
    isShown: true,
    policies: [orders('p', { rules: [{ to: [{ paths: [{ prefix: '/api' }] }] }] })],
    rows: [
      ['web', 'GET /api', 'allow shop/p#0'],
      ['web', 'GET /api/', 'allow shop/p#0'],
      ['web', 'GET /api/v1', 'allow shop/p#0'],
      ['web', 'GET /apiv1', 'deny no_rule_matches'],
      ['web', 'GET /ap', 'deny no_rule_matches'],
      ['web', 'GET /x/api', 'deny no_rule_matches'],
      ['web', 'GET /api/../admin', 'deny path_dot_segment'],
      ['web', 'GET /x/../api/v1', 'deny path_dot_segment'],
      ['web', 'GET //api', 'deny path_leading_slashes'],
      ['web', 'GET /./api', 'deny path_dot_segment'],
    ],
  },
  {
    title: 'Suffixes',
    text: '',
    policies: [orders('p', { rules: [{ to: [{ paths: [{ suffix: '.css' }, { suffix: '/admin/' }] }] }] })],
    rows: [
      ['web', 'GET /a.css', 'allow shop/p#0'],
      ['web', 'GET /a/b.css', 'allow shop/p#0'],
      ['web', 'GET /a.css/', 'allow shop/p#0'],
      ['web', 'GET /a.css/b', 'deny no_rule_matches'],
      ['web', 'GET /css', 'deny no_rule_matches'],
      ['web', 'GET /a.css?x', 'allow shop/p#0'],
      ['web', 'GET /a.cs%73', 'allow shop/p#0'],
      ['web', 'GET /x/admin/', 'allow shop/p#0'],
      ['web', 'GET /x/admin', 'allow shop/p#0'],
      ['web', 'GET /admin', 'allow shop/p#0'],
      ['web', 'GET /xadmin', 'deny no_rule_matches'],
      ['web', 'GET /x/admin/y', 'deny no_rule_matches'],
    ],
  },
  {
    title: 'Templates',
    text: '`{id}` stands for one segment.',
    isShown: true,
    policies: [
      orders('p', {
        rules: [
          { to: [{ paths: [{ template: '/orders/{id}' }, { template: '/files/{path=**}' }, { template: '/{a}/items/{b}' }] }] },
        ],
      }),
    ],
    rows: [
      ['web', 'GET /orders/7', 'allow shop/p#0'],
      ['web', 'GET /orders', 'deny no_rule_matches'],
      ['web', 'GET /orders/', 'deny no_rule_matches'],
      ['web', 'GET /orders/7/', 'allow shop/p#0'],
      ['web', 'GET /orders/7/x', 'deny no_rule_matches'],
      ['web', 'GET /files', 'deny no_rule_matches'],
      ['web', 'GET /files/a', 'allow shop/p#0'],
      ['web', 'GET /files/a/b/c', 'allow shop/p#0'],
      ['web', 'GET /x/items/1', 'allow shop/p#0'],
      ['web', 'GET /x/items', 'deny no_rule_matches'],
      ['web', 'GET /x/item/1', 'deny no_rule_matches'],
      ['web', 'GET /orders/%7Bid%7D', 'allow shop/p#0'],
    ],
  },
  {
    title: 'Regular expressions match the whole path',
    text: 'RE2: no expression takes exponential time.',
    policies: [
      orders('p', { rules: [{ to: [{ paths: [{ regex: '/v[0-9]+/.*' }, { regex: '(a+)+' }, { regex: '/(x+x+)+y' }] }] }] }),
    ],
    rows: [
      ['web', 'GET /v1/a', 'allow shop/p#0'],
      ['web', 'GET /v12/', 'deny no_rule_matches'],
      ['web', 'GET /v1', 'deny no_rule_matches'],
      ['web', 'GET /v/a', 'deny no_rule_matches'],
      ['web', 'GET /a/v1/a', 'deny no_rule_matches'],
      ['web', 'GET /aaaa', 'deny no_rule_matches'],
      ['web', `GET /${'x'.repeat(60)}`, 'deny no_rule_matches'],
      ['web', `GET /${'x'.repeat(30)}y`, 'allow shop/p#0'],
    ],
  },
  {
    title: 'Hosts',
    text: '',
    isShown: true,
    policies: [orders('p', { rules: [{ to: [{ hosts: ['orders.shop', '*.example.org', '[2001:db8::1]'] }] }] })],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { host: 'orders.shop' }],
      ['web', 'GET /', 'allow shop/p#0', { host: 'ORDERS.shop' }],
      ['web', 'GET /', 'allow shop/p#0', { host: 'orders.shop:8443' }],
      ['web', 'GET /', 'allow shop/p#0', { host: 'orders.shop.' }],
      ['web', 'GET /', 'allow shop/p#0', { host: 'a.example.org' }],
      ['web', 'GET /', 'allow shop/p#0', { host: 'a.b.example.org' }],
      ['web', 'GET /', 'deny no_rule_matches', { host: 'example.org' }],
      ['web', 'GET /', 'deny no_rule_matches', { host: 'evilexample.org' }],
      ['web', 'GET /', 'allow shop/p#0', { host: '[2001:DB8:0::1]:443' }],
      ['web', 'GET /', 'deny no_rule_matches', { host: '[2001:db8::2]' }],
      ['web', 'GET /', 'deny host_invalid', { host: 'orders.shop@evil' }],
      ['web', 'GET /', 'deny host_invalid', { host: 'orders shop' }],
      ['web', 'GET /', 'allow shop/p#0', { host: 'xn--bcher-kva.example.org' }],
      ['web', 'GET /', 'deny host_invalid', { host: 'b\u00fccher.example.org' }],
      ['web', 'GET /', 'deny no_rule_matches', { host: '' }],
    ],
  },
  {
    title: 'Host and :authority must agree',
    text: '',
    policies: [orders('p', { rules: [{ to: [{ hosts: ['orders'] }] }] })],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { headers: [['host', 'orders']] }],
      ['web', 'GET /', 'allow shop/p#0', { headers: [['host', 'ORDERS:443']] }],
      ['web', 'GET /', 'deny host_mismatch', { headers: [['host', 'other']] }],
      ['web', 'GET /', 'deny host_mismatch', { host: 'other', headers: [['host', 'orders']] }],
      ['web', 'GET /', 'allow shop/p#0', { host: '', headers: [['host', 'orders']] }],
      [
        'web',
        'GET /',
        'deny host_repeated',
        {
          host: '',
          headers: [
            ['host', 'orders'],
            ['Host', 'orders'],
          ],
        },
      ],
      ['web', 'GET http://orders/', 'allow shop/p#0'],
      ['web', 'GET http://other/', 'deny host_mismatch'],
      ['web', 'GET https://orders:443/a', 'allow shop/p#0'],
      ['web', 'GET http://orders', 'allow shop/p#0'],
    ],
  },
  {
    title: 'Ports',
    text: '',
    policies: [
      orders('p', { rules: [{ to: [{ ports: ['8443', '9000-9999'] }] }] }),
      authz('cat', { selector: { matchLabels: { app: 'catalog' } }, rules: [{ to: [{ ports: ['8443', '9000-9999'] }] }] }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/p#0'],
      ['web', 'GET /', 'deny no_rule_matches', { to: 'catalog' }],
      ['web', 'connect', 'allow shop/p#0'],
      ['web', 'connect', 'deny no_rule_matches', { to: 'catalog' }],
      ['web', 'GET /', 'deny no_rule_matches', { unseen: ['destination.port'] }],
    ],
  },
  {
    title: 'Headers',
    text: 'All conditions must hold.',
    isShown: true,
    policies: [
      orders('p', {
        rules: [
          {
            to: [
              {
                headers: [
                  { name: 'X-Tenant', exact: 'acme' },
                  { name: 'x-debug', present: false },
                ],
              },
            ],
          },
        ],
      }),
    ],
    rows: [
      ['web', 'GET /', 'deny no_rule_matches'],
      ['web', 'GET /', 'allow shop/p#0', { headers: [['x-tenant', 'acme']] }],
      ['web', 'GET /', 'allow shop/p#0', { headers: [['X-TENANT', 'acme']] }],
      ['web', 'GET /', 'allow shop/p#0', { headers: [['x-tenant', ' acme ']] }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: [['x-tenant', 'Acme']] }],
      [
        'web',
        'GET /',
        'deny no_rule_matches',
        {
          headers: [
            ['x-tenant', 'acme'],
            ['x-debug', '1'],
          ],
        },
      ],
      [
        'web',
        'GET /',
        'deny no_rule_matches',
        {
          headers: [
            ['x-tenant', 'acme'],
            ['x-debug', ''],
          ],
        },
      ],
      [
        'web',
        'GET /',
        'deny no_rule_matches',
        {
          headers: [
            ['x-tenant', 'acme'],
            ['x-tenant', 'acme'],
          ],
        },
      ],
      [
        'web',
        'GET /',
        'deny no_rule_matches',
        {
          headers: [
            ['x-tenant', 'acme'],
            ['X-Tenant', 'other'],
          ],
        },
      ],
      ['web', 'connect', 'deny no_rule_matches'],
    ],
  },
  {
    title: 'Parts of headers',
    text: '',
    policies: [
      orders('p', {
        rules: [
          {
            to: [
              { headers: [{ name: 'accept', prefix: 'text/' }] },
              { headers: [{ name: 'accept', suffix: '+json' }] },
              { headers: [{ name: 'accept', regex: 'image/(png|gif)' }] },
            ],
          },
        ],
      }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { headers: [['accept', 'text/html']] }],
      ['web', 'GET /', 'allow shop/p#0', { headers: [['accept', 'application/a+json']] }],
      ['web', 'GET /', 'allow shop/p#0', { headers: [['accept', 'image/png']] }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: [['accept', 'image/pngx']] }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: [['accept', 'application/xml']] }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: [['accept', '']] }],
    ],
  },
  {
    title: 'A header in several lines, for DENY',
    text: 'One server reads the first line, another the last, a third all of them: it holds unless none of them matches.',
    isShown: true,
    policies: [
      orders('all', { rules: [{}] }),
      orders('d', { action: 'DENY', rules: [{ to: [{ headers: [{ name: 'x-tenant', exact: 'evil' }] }] }] }),
    ],
    rows: [
      ['web', 'GET /', 'deny shop/d#0', { headers: lines('evil') }],
      ['web', 'GET /', 'deny shop/d#0', { headers: lines('evil', 'evil') }],
      ['web', 'GET /', 'deny shop/d#0', { headers: lines('evil', 'acme') }],
      ['web', 'GET /', 'deny shop/d#0', { headers: lines('acme', 'evil') }],
      ['web', 'GET /', 'deny shop/d#0', { headers: lines('acme', 'evil', 'acme') }],
      ['web', 'GET /', 'allow shop/all#0', { headers: lines('acme', 'acme') }],
      ['web', 'GET /', 'allow shop/all#0', { headers: lines('acme', 'other') }],
      ['web', 'GET /', 'allow shop/all#0'],
    ],
  },
  {
    title: 'A header in several lines, for ALLOW',
    text: 'All of them must match, joined and one by one.',
    isShown: true,
    policies: [
      orders('p', { rules: [{ to: [{ headers: [{ name: 'x-tenant', prefix: 'acme' }] }] }] }),
      orders('q', { rules: [{ to: [{ headers: [{ name: 'x-tenant', suffix: '-ok' }] }] }] }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { headers: lines('acme-1') }],
      ['web', 'GET /', 'allow shop/p#0', { headers: lines('acme-1', 'acme-2') }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: lines('acme-1', 'evil') }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: lines('evil', 'acme-1') }],
      ['web', 'GET /', 'allow shop/q#0', { headers: lines('a-ok') }],
      ['web', 'GET /', 'allow shop/q#0', { headers: lines('a-ok', 'b-ok') }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: lines('evil', 'a-ok') }],
    ],
  },
  {
    title: 'Not a header in several lines',
    text: '',
    policies: [orders('p', { rules: [{ to: [{ not: { headers: [{ name: 'x-tenant', exact: 'evil' }] } }] }] })],
    rows: [
      ['web', 'GET /', 'allow shop/p#0'],
      ['web', 'GET /', 'allow shop/p#0', { headers: lines('acme', 'other') }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: lines('evil', 'evil') }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: lines('acme', 'evil') }],
    ],
  },
  {
    title: 'Bytes of headers beyond ASCII',
    text: 'They are Latin-1 to one program and UTF-8 to another: no comparison with them can be judged.',
    policies: [
      orders('p', { rules: [{ to: [{ headers: [{ name: 'x-tenant', prefix: 'acme' }] }] }] }),
      orders('d', { action: 'DENY', rules: [{ to: [{ headers: [{ name: 'x-role', exact: 'gar\u00e7on' }] }] }] }),
    ],
    rows: [
      ['web', 'GET /', 'allow shop/p#0', { headers: [['x-tenant', 'acme']] }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: [['x-tenant', 'acme\u00e9']] }],
      ['web', 'GET /', 'deny no_rule_matches', { headers: [['x-tenant', '\u00a0acme']] }],
      [
        'web',
        'GET /',
        'deny shop/d#0',
        {
          headers: [
            ['x-tenant', 'acme'],
            ['x-role', 'gar\u00c3\u00a7on'],
          ],
        },
      ],
      [
        'web',
        'GET /',
        'allow shop/p#0',
        {
          headers: [
            ['x-tenant', 'acme'],
            ['x-role', 'guest'],
          ],
        },
      ],
    ],
  },
  {
    title: 'Headers that must not be repeated',
    text: '',
    policies: [orders('all', { rules: [{}] })],
    rows: [
      [
        'web',
        'GET /',
        'deny header_repeated',
        {
          headers: [
            ['authorization', 'a'],
            ['Authorization', 'b'],
          ],
        },
      ],
      [
        'web',
        'GET /',
        'deny header_repeated',
        {
          headers: [
            ['content-length', '1'],
            ['content-length', '2'],
          ],
        },
      ],
      [
        'web',
        'GET /',
        'allow shop/all#0',
        {
          headers: [
            ['accept', 'a'],
            ['accept', 'b'],
          ],
        },
      ],
      ['web', 'GET /', 'deny header_invalid', { headers: [['bad name', 'a']] }],
      ['web', 'GET /', 'deny header_invalid', { headers: [['x', 'a\r\nb']] }],
      ['web', 'GET /', 'deny header_invalid', { headers: [['x', 'a\u0000b']] }],
    ],
  },
  {
    title: 'gRPC',
    text: '',
    policies: [
      orders('p', {
        rules: [{ to: [{ grpc: [{ service: 'shop.v1.Orders', method: 'Get*' }, { service: 'grpc.health.v1.*' }] }] }],
      }),
    ],
    rows: [
      ['web', 'POST /shop.v1.Orders/Get', 'allow shop/p#0', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'POST /shop.v1.Orders/GetAll', 'allow shop/p#0', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'POST /shop.v1.Orders/Delete', 'deny no_rule_matches', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'POST /shop.v1.Order/Get', 'deny no_rule_matches', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'POST /grpc.health.v1.Health/Check', 'allow shop/p#0', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'POST /shop.v1.Orders/Get', 'deny no_rule_matches'],
      ['web', 'GET /shop.v1.Orders/Get', 'deny no_rule_matches', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'POST /shop.v1.Orders/Get', 'allow shop/p#0', { headers: [['content-type', 'application/grpc+proto']] }],
      ['web', 'POST /shop.v1.Orders/Get', 'deny no_rule_matches', { headers: [['content-type', 'application/grpc-web']] }],
      ['web', 'POST /a/shop.v1.Orders/Get', 'deny no_rule_matches', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'connect', 'deny no_rule_matches'],
    ],
  },
  {
    title: 'gRPC, for DENY',
    text: 'Servers take a call for gRPC by its path alone: what may be one is denied, whatever it calls itself.',
    isShown: true,
    policies: [
      orders('all', { rules: [{}] }),
      orders('d', { action: 'DENY', rules: [{ to: [{ grpc: [{ service: 'shop.v1.Orders', method: 'Delete' }] }] }] }),
    ],
    rows: [
      ['web', 'POST /shop.v1.Orders/Delete', 'deny shop/d#0', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'POST /shop.v1.Orders/Delete', 'deny shop/d#0', { headers: [['content-type', 'application/grpcx']] }],
      ['web', 'POST /shop.v1.Orders/Delete', 'deny shop/d#0', { headers: [['content-type', 'application/grpc ;a']] }],
      ['web', 'POST /shop.v1.Orders/Delete', 'deny shop/d#0', { headers: [['content-type', 'application/grpc-web']] }],
      ['web', 'POST /shop.v1.Orders/Delete', 'deny shop/d#0'],
      ['web', 'PUT /shop.v1.Orders/Delete', 'deny shop/d#0', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'GET /shop.v1.Orders/Delete', 'deny shop/d#0'],
      ['web', 'POST /shop.v1.Orders/Get', 'allow shop/all#0', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'GET /shop.v1.Orders/Get', 'allow shop/all#0'],
      ['web', 'GET /shop.v1.Orders', 'allow shop/all#0'],
      ['web', 'GET /x/shop.v1.Orders/Delete', 'allow shop/all#0'],
    ],
  },
  {
    title: 'Not gRPC of a service',
    text: '',
    policies: [orders('p', { rules: [{ to: [{ not: { grpc: [{ service: 'shop.v1.Admin' }] } }] }] })],
    rows: [
      ['web', 'POST /shop.v1.Orders/Get', 'allow shop/p#0', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'POST /shop.v1.Admin/Get', 'deny no_rule_matches', { headers: [['content-type', 'application/grpc']] }],
      ['web', 'POST /shop.v1.Admin/Get', 'deny no_rule_matches', { headers: [['content-type', 'application/grpcx']] }],
      ['web', 'GET /shop.v1.Admin/Get', 'deny no_rule_matches'],
      ['web', 'GET /', 'allow shop/p#0'],
    ],
  },
  {
    title: 'Fields of one clause must all hold, any clause may',
    text: '',
    isShown: true,
    policies: [
      orders('p', {
        rules: [
          {
            from: [{ namespaces: ['shop'] }],
            to: [
              { methods: ['GET'], paths: [{ prefix: '/orders' }] },
              { methods: ['POST'], paths: [{ exact: '/orders' }] },
            ],
          },
        ],
      }),
    ],
    rows: [
      ['web', 'GET /orders', 'allow shop/p#0'],
      ['web', 'GET /orders/7', 'allow shop/p#0'],
      ['web', 'POST /orders', 'allow shop/p#0'],
      ['web', 'POST /orders/7', 'deny no_rule_matches'],
      ['web', 'PUT /orders', 'deny no_rule_matches'],
      ['web', 'GET /admin', 'deny no_rule_matches'],
      ['batch', 'GET /orders', 'deny no_rule_matches'],
      ['batch', 'GET /orders/7', 'deny no_rule_matches'],
      ['batch', 'POST /orders', 'deny no_rule_matches'],
      ['batch', 'POST /orders/7', 'deny no_rule_matches'],
      ['batch', 'PUT /orders', 'deny no_rule_matches'],
      ['batch', 'GET /admin', 'deny no_rule_matches'],
    ],
  },
  {
    title: 'Not',
    text: '',
    policies: [
      orders('p', {
        rules: [{ to: [{ paths: [{ prefix: '/api' }], not: { paths: [{ prefix: '/api/admin' }], methods: ['DELETE'] } }] }],
      }),
    ],
    rows: [
      ['web', 'GET /api', 'allow shop/p#0'],
      ['web', 'GET /api/x', 'allow shop/p#0'],
      ['web', 'GET /api/admin', 'deny no_rule_matches'],
      ['web', 'GET /api/admin/x', 'deny no_rule_matches'],
      ['web', 'GET /api/administrators', 'allow shop/p#0'],
      ['web', 'DELETE /api/x', 'deny no_rule_matches'],
      ['web', 'GET /x', 'deny no_rule_matches'],
      ['web', 'connect', 'deny no_rule_matches'],
    ],
  },
];
