import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { importLinkerd } from '../../../../policy/import/linkerd.ts';
import { verdictsOf } from '../../../support/policy/verdicts.ts';

const SERVER = `
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: { name: orders-http, namespace: shop, labels: { tier: back } }
spec: { podSelector: { matchLabels: { app: orders } }, port: 8443 }
`;

const authorization = (target: string, references: string): string => `
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop }
spec: { targetRef: ${target}, requiredAuthenticationRefs: ${references} }
`;
const AT_SERVER = '{ group: policy.linkerd.io, kind: Server, name: orders-http }';
const named = (kind: string, spec: string, name = 'a'): string => `
apiVersion: policy.linkerd.io/v1alpha1
kind: ${kind}
metadata: { name: ${name}, namespace: shop }
spec: ${spec}
`;
const MESH_A = '[{ group: policy.linkerd.io, kind: MeshTLSAuthentication, name: a }]';

function imported(...documents: readonly string[]) {
  const parsed = parseAllDocuments(documents.join('\n---\n')).map((each): object => each.toJS());
  const { resources, losses } = importLinkerd(parsed);
  return { resources, losses: losses.map(({ field, effect }) => `${field}: ${effect}`) };
}

const OTHER_PORTS = 'spec.port: denies more';

/** Title, documents beside the Server, what is decided, what is lost. */
const CASES: readonly (readonly [string, readonly string[], string, readonly string[]])[] = [
  ['a Server alone lets nobody in', [], 'web GET /: deny\nnobody GET /: deny', []],
  [
    'service accounts and namespaces by their names',
    [
      named(
        'MeshTLSAuthentication',
        '{ identities: [web.shop.serviceaccount.identity.linkerd.cluster.local, "*.billing.serviceaccount.identity.linkerd.cluster.local"] }',
      ),
      authorization(AT_SERVER, MESH_A),
    ],
    'web GET /: allow\nbatch POST /x: allow\nadmin GET /: deny\nnobody GET /: deny\nweb connect: allow',
    [],
  ],
  [
    'references to service accounts and namespaces',
    [
      named(
        'MeshTLSAuthentication',
        '{ identityRefs: [{ kind: ServiceAccount, name: web }, { kind: Namespace, name: platform }] }',
      ),
      authorization(AT_SERVER, MESH_A),
    ],
    'web GET /: allow\nadmin GET /: allow\nbatch GET /: deny',
    [],
  ],
  [
    'a service account without an authentication between',
    [authorization(AT_SERVER, '[{ kind: ServiceAccount, name: batch, namespace: billing }]')],
    'batch GET /: allow\nweb GET /: deny',
    [],
  ],
  [
    'everybody in the mesh',
    [named('MeshTLSAuthentication', '{ identities: ["*"] }'), authorization(AT_SERVER, MESH_A)],
    'web GET /: allow\npartner GET /: allow\nnobody GET /: deny',
    [],
  ],
  [
    'networks, and all references together',
    [
      named('MeshTLSAuthentication', '{ identities: ["*"] }'),
      named('NetworkAuthentication', '{ networks: [{ cidr: 10.0.0.0/8, except: [10.9.0.0/16] }] }', 'n'),
      authorization(AT_SERVER, `[{ kind: MeshTLSAuthentication, name: a }, { kind: NetworkAuthentication, name: n }]`),
    ],
    'web GET /: allow\nbatch GET /: deny\npartner GET /: deny',
    [],
  ],
  [
    'a network alone',
    [
      named('NetworkAuthentication', '{ networks: [{ cidr: 192.168.0.0/16 }] }'),
      authorization(AT_SERVER, '[{ kind: NetworkAuthentication, name: a }]'),
    ],
    'nobody GET /: allow\nweb GET /: deny',
    [],
  ],
  [
    'two of a kind, which one clause cannot say',
    [
      named('MeshTLSAuthentication', '{ identities: ["*"] }'),
      named('MeshTLSAuthentication', '{ identities: ["*"] }', 'b'),
      authorization(AT_SERVER, '[{ kind: MeshTLSAuthentication, name: a }, { kind: MeshTLSAuthentication, name: b }]'),
    ],
    'web GET /: deny',
    ['spec.requiredAuthenticationRefs[1]: rule dropped'],
  ],
  [
    'an authentication that is not there',
    [authorization(AT_SERVER, MESH_A)],
    'web GET /: deny',
    ['spec.requiredAuthenticationRefs[0]: rule dropped'],
  ],
  [
    'the whole namespace',
    [authorization('{ kind: Namespace, name: shop }', '[{ kind: ServiceAccount, name: web }]')],
    'web GET /: allow\nbatch GET /: deny',
    [],
  ],
  [
    'a route: nothing but its paths and methods',
    [
      `
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: { name: read, namespace: shop }
spec:
  parentRefs: [{ group: policy.linkerd.io, kind: Server, name: orders-http }]
  rules:
    - matches:
        - { path: { type: PathPrefix, value: /api/ }, method: GET }
        - { path: { type: Exact, value: /health } }
        - { path: { type: RegularExpression, value: "/v[0-9]+/x" }, headers: [{ name: x-a, value: "1" }] }
`,
      authorization('{ group: policy.linkerd.io, kind: HTTPRoute, name: read }', '[{ kind: ServiceAccount, name: web }]'),
    ],
    `web GET /api/x: allow
     web GET /api: allow
     web POST /api/x: deny
     web GET /apix: deny
     web POST /health: allow
     web GET /v1/x: deny
     web GET /: deny
     web connect: deny
     batch GET /api/x: deny`,
    [],
  ],
  [
    'a route that asks for a query',
    [
      `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: read, namespace: shop }
spec:
  parentRefs: [{ group: policy.linkerd.io, kind: Server, name: orders-http }]
  rules: [{ matches: [{ queryParams: [{ name: a, value: b }] }] }]
`,
      authorization('{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: read }', '[{ kind: ServiceAccount, name: web }]'),
    ],
    'web GET /: deny',
    ['spec.rules: rule dropped', 'spec.targetRef: not carried over'],
  ],
  [
    'a ServerAuthorization by labels of the Server',
    [
      named(
        'ServerAuthorization',
        '{ server: { selector: { matchLabels: { tier: back } } }, client: { networks: [{ cidr: 0.0.0.0/0 }], meshTLS: { serviceAccounts: [{ name: web }] } } }',
      ),
    ],
    'web GET /: allow\nbatch GET /: deny',
    [],
  ],
  [
    'a ServerAuthorization for those without an identity, from some networks',
    [
      named(
        'ServerAuthorization',
        '{ server: { name: orders-http }, client: { unauthenticated: true, networks: [{ cidr: 192.168.0.0/16 }] } }',
      ),
    ],
    'nobody GET /: allow\nweb GET /: deny',
    [],
  ],
];

const groupOf = (kind: string): string => (kind === 'GRPCRoute' ? 'gateway.networking.k8s.io' : 'policy.linkerd.io');
const route = (name: string, rules: string, { kind = 'HTTPRoute', parent = '', hosts = '[]' } = {}): string => `
apiVersion: ${groupOf(kind)}/v1
kind: ${kind}
metadata: { name: ${name}, namespace: shop }
spec: { parentRefs: [{ group: policy.linkerd.io, kind: Server, name: orders-http ${parent} }], hostnames: ${hosts}, rules: ${rules} }
`;
const granted = (kind: string, name: string, account: string): string =>
  authorization(`{ group: ${groupOf(kind)}, kind: ${kind}, name: ${name} }`, `[{ kind: ServiceAccount, name: ${account} }]`);
const matching = (...matches: readonly string[]): string => `[{ matches: [${matches.join(', ')}] }]`;
const below = (path: string, rest = ''): string => `{ path: { type: PathPrefix, value: ${path} } ${rest} }`;
const WEB_AT_SERVER = authorization(AT_SERVER, '[{ kind: ServiceAccount, name: web }]');
const WEB_AT_READ = granted('HTTPRoute', 'read', 'web');
const WHOLE = route('read', matching(below('/')));

/** Title, protocol, documents beside the Server, what is decided, what is lost. */
const ROUTES: readonly (readonly [string, string, readonly string[], string, readonly string[]])[] = [
  [
    'what is allowed at a Server with routes is what its routes are about',
    'unknown',
    [WEB_AT_SERVER, route('read', matching(below('/api', ', method: GET'))), route('ready', matching(below('/ready')))],
    'web GET /api/x: allow\nweb POST /api/x: deny\nweb POST /ready: allow\nweb GET /: deny\nweb connect: deny\nbatch GET /api/x: deny',
    ['spec.proxyProtocol: allows less'],
  ],
  [
    'the same for a whole namespace',
    'HTTP/1',
    [
      authorization('{ kind: Namespace, name: shop }', '[{ kind: ServiceAccount, name: web }]'),
      route('read', matching(below('/api'))),
    ],
    'web GET /api: allow\nweb GET /: deny',
    [],
  ],
  [
    'routes that cannot be said let nobody in',
    'HTTP/2',
    [WEB_AT_SERVER, route('read', matching('{ queryParams: [{ name: a, value: b }] }'))],
    'web GET /: deny',
    ['spec.rules: rule dropped'],
  ],
  ['an opaque Server has no routes', 'opaque', [WEB_AT_SERVER, WHOLE], 'web GET /: allow\nweb connect: allow', []],
  [
    'a policy about a route of an opaque Server lets nobody in',
    'opaque',
    [WEB_AT_READ, WHOLE],
    'web GET /: deny',
    ['spec.targetRef: rule dropped', 'spec.targetRef: not carried over'],
  ],
  [
    'GRPCRoutes are of Servers of gRPC only',
    'unknown',
    [granted('GRPCRoute', 'calls', 'web'), route('calls', '[{}]', { kind: 'GRPCRoute' })],
    'web GET /: deny',
    ['spec.targetRef: rule dropped', 'spec.targetRef: not carried over'],
  ],
  [
    'HTTPRoutes are of Servers of HTTP only',
    'gRPC',
    [WEB_AT_SERVER, route('read', matching(below('/api')))],
    'web GET /: allow',
    [],
  ],
  [
    'the longer path of another route decides alone',
    'HTTP/1',
    [WEB_AT_READ, WHOLE, route('admin', matching(below('/admin'))), granted('HTTPRoute', 'admin', 'web2')],
    'web GET /x: allow\nweb GET /admin: deny\nweb GET /admin/x: deny\nweb GET /administrator: allow',
    [],
  ],
  [
    'a shorter one does not',
    'HTTP/1',
    [granted('HTTPRoute', 'admin', 'web'), WHOLE, route('admin', matching(below('/admin')))],
    'web GET /x: deny\nweb GET /admin: allow',
    [],
  ],
  [
    'a method decides between routes of the same path',
    'HTTP/1',
    [WEB_AT_READ, WHOLE, route('write', matching(below('/', ', method: POST'), '{ headers: [{ name: x-a, value: b }] }'))],
    'web GET /: allow\nweb POST /: deny',
    [],
  ],
  [
    'of another route with more than a path, all below the path is left out',
    'HTTP/1',
    [WEB_AT_READ, WHOLE, route('write', matching(below('/a', ', method: POST')))],
    'web GET /: allow\nweb POST /a: deny\nweb GET /a: deny',
    ['HTTPRoute shop/read: allows less'],
  ],
  [
    'hosts come before paths',
    'HTTP/1',
    [WEB_AT_READ, route('read', matching(below('/long'))), route('orders', matching(below('/')), { hosts: '[orders]' })],
    'web GET /long: deny',
    [],
  ],
  [
    'routes for the same requests',
    'HTTP/1',
    [WEB_AT_READ, WHOLE, route('other', matching(below('/')))],
    'web GET /: deny',
    ['HTTPRoute shop/read: rule dropped', 'spec.targetRef: not carried over'],
  ],
  [
    'whoever is sent elsewhere is not let in',
    'HTTP/1',
    [WEB_AT_SERVER, route('read', '[{ filters: [{ type: RequestRedirect, requestRedirect: {} }] }]')],
    'web GET /: deny',
    ['spec.rules: rule dropped'],
  ],
  [
    'a route that Linkerd refuses is none',
    'HTTP/1',
    [WEB_AT_READ, route('read', matching(below('/')), { parent: ', port: 80' })],
    'web GET /: deny',
    ['spec.parentRefs: not carried over', 'spec.targetRef: not carried over'],
  ],
  [
    'a route of the same name, but of another group',
    'HTTP/1',
    [
      authorization('{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: read }', '[{ kind: ServiceAccount, name: web }]'),
      WHOLE,
    ],
    'web GET /: deny',
    ['spec.targetRef: not carried over'],
  ],
];

/** Title, documents beside the Server, what is decided, what is lost. */
const CLIENTS: typeof CASES = [
  [
    'two accounts together, which Linkerd refuses',
    [
      named('MeshTLSAuthentication', '{ identities: ["*"] }'),
      authorization(AT_SERVER, '[{ kind: MeshTLSAuthentication, name: a }, { kind: ServiceAccount, name: web }]'),
    ],
    'web GET /: deny',
    ['spec.requiredAuthenticationRefs[1]: rule dropped'],
  ],
  [
    'a reference that Linkerd refuses',
    [
      named('MeshTLSAuthentication', '{ identityRefs: [{ kind: ServiceAccount, name: web }, { kind: Pod, name: web }] }'),
      authorization(AT_SERVER, MESH_A),
    ],
    'web GET /: deny',
    ['spec.identityRefs: not carried over', 'spec.requiredAuthenticationRefs[0]: rule dropped'],
  ],
  [
    'an identity of another mesh',
    [
      named(
        'MeshTLSAuthentication',
        '{ identities: [web.shop.serviceaccount.identity.linkerd.west.local, batch.billing.serviceaccount.identity.linkerd.cluster.local] }',
      ),
      authorization(AT_SERVER, MESH_A),
    ],
    'web GET /: deny\nbatch GET /: allow',
    ['spec.identities: value dropped'],
  ],
  ...['{ unauthenticated: true }', '{ meshTLS: { identities: ["*"] } }'].map(
    (client) =>
      [
        `a ServerAuthorization is about the networks of the cluster: ${client}`,
        [named('ServerAuthorization', `{ server: { name: orders-http }, client: ${client} }`)],
        'web GET /: deny',
        ['spec.client.networks: rule dropped'],
      ] as const,
  ),
  [
    'a ServerAuthorization by expressions over labels',
    [
      named(
        'ServerAuthorization',
        '{ server: { selector: { matchExpressions: [{ key: tier, operator: Exists }] } }, client: { unauthenticated: true, networks: [{ cidr: 0.0.0.0/0 }] } }',
      ),
    ],
    'web GET /: deny',
    ['spec.server.selector.matchExpressions: rule dropped'],
  ],
];

describe('Linkerd', () => {
  test.each(ROUTES)('routes: %s', (_title, protocol, documents, decided, lost) => {
    const { resources, losses } = imported(SERVER.replace('port: 8443', `port: 8443, proxyProtocol: ${protocol}`), ...documents);
    expect(verdictsOf(resources, decided)).toBe(decided);
    expect(losses.toSorted()).toEqual([...lost, OTHER_PORTS].toSorted());
  });

  test('routes: of gRPC, the more exact one decides alone', () => {
    const calls = (name: string, method: string): string =>
      route(name, `[{ matches: [{ method: ${method} }] }]`, { kind: 'GRPCRoute' });
    const { resources, losses } = imported(
      SERVER.replace('port: 8443', 'port: 8443, proxyProtocol: gRPC'),
      calls('all', '{ service: shop.Orders }'),
      calls('one', '{ service: shop.Orders, method: Drop }'),
      granted('GRPCRoute', 'all', 'web'),
      granted('GRPCRoute', 'one', 'admin'),
    );
    expect(losses).toEqual([OTHER_PORTS]);
    expect(resources).toMatchObject([
      {
        spec: {
          rules: [
            { to: [{ grpc: [{ service: 'shop.Orders' }], not: { grpc: [{ service: 'shop.Orders', method: 'Drop' }] } }] },
            { to: [{ grpc: [{ service: 'shop.Orders', method: 'Drop' }] }] },
          ],
        },
      },
    ]);
  });

  test.each(CLIENTS)('clients: %s', (_title, documents, decided, lost) => {
    const { resources, losses } = imported(SERVER, ...documents);
    expect(verdictsOf(resources, decided)).toBe(decided);
    expect(losses).toEqual([...lost, OTHER_PORTS]);
  });

  test('a Server of external workloads denies no pod', () => {
    const server = SERVER.replace('podSelector', 'externalWorkloadSelector');
    expect(imported(server, WEB_AT_SERVER)).toEqual({
      resources: [],
      losses: ['spec.externalWorkloadSelector: not carried over'],
    });
  });

  test.each(CASES)('%s', (_title, documents, decided, lost) => {
    const { resources, losses } = imported(SERVER, ...documents);
    expect(verdictsOf(resources, decided)).toBe(decided.trim().replaceAll(/^\s+/gm, ''));
    expect(losses).toEqual([...lost.filter((each) => each !== OTHER_PORTS), OTHER_PORTS]);
  });

  test.each([
    ['deny', 'web GET /: deny'],
    ['all-unauthenticated', 'web GET /: allow\nnobody GET /: allow'],
    ['all-authenticated', 'web GET /: allow\nnobody GET /: deny'],
    ['cluster-unauthenticated', 'web GET /: deny'],
    ['all-tls-unauthenticated', 'web GET /: allow\nnobody GET /: deny'],
  ])('accessPolicy %s', (accessPolicy, decided) => {
    const { resources } = imported(SERVER.replace('port: 8443', `port: 8443, accessPolicy: ${accessPolicy}`));
    expect(verdictsOf(resources, decided)).toBe(decided);
  });

  test('audit becomes a policy that changes nothing', () => {
    const { resources } = imported(SERVER.replace('port: 8443', 'port: 8443, accessPolicy: audit'));
    expect(resources).toMatchObject([{ spec: { mode: 'DryRun' } }]);
  });

  test('only the port of the Server is let in', () => {
    const other = SERVER.replace('8443', '9090').replace('orders-http', 'orders-other');
    const everybody = authorization('{ kind: Server, name: orders-other }', '[{ kind: ServiceAccount, name: web }]');
    expect(verdictsOf(imported(other, everybody).resources, 'web GET /: deny')).toBe('web GET /: deny');
  });

  test('the name of a port is looked up in the workloads', () => {
    const server = SERVER.replace('8443', 'https');
    const policy = authorization(AT_SERVER, '[{ kind: ServiceAccount, name: web }]');
    const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: orders, namespace: shop }
spec: { template: { metadata: { labels: { app: orders } }, spec: { containers: [{ ports: [{ name: https, containerPort: 8443 }] }] } } }
`;
    expect(verdictsOf(imported(server, policy, workload).resources, 'web GET /: allow')).toBe('web GET /: allow');
    const without = imported(server, policy);
    expect(verdictsOf(without.resources, 'web GET /: deny')).toBe('web GET /: deny');
    expect(without.losses).toContain('spec.port: rule dropped');
  });

  test.each([
    ['kind: Server', SERVER.replace('port: 8443', 'port: 8443, accesPolicy: deny'), 'Server shop/orders-http:\naccesPolicy'],
    ['kind: Server', SERVER.replace('8443', '"8443 "').replace('"8443 "', '0'), 'Server shop/orders-http:\n'],
    ['kind: AuthorizationPolicy', authorization('{ kind: Server }', '[]'), 'targetRef.name'],
  ])('a faulty %s is named', (_kind, document, message) => {
    expect(() => imported(document)).toThrow(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(message) }),
    );
  });

  test('other kinds of Linkerd are named, other documents passed over', () => {
    const { resources, losses } = imported(named('EgressNetwork', '{}'), 'apiVersion: v1\nkind: Service\nmetadata: { name: x }');
    expect({ resources, losses }).toEqual({ resources: [], losses: ['kind: not carried over'] });
  });
});
