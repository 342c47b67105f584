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
    ['HTTPRoute shop/read: rule dropped', 'spec.targetRef: not carried over'],
  ],
  [
    'a ServerAuthorization by labels of the Server',
    [
      named(
        'ServerAuthorization',
        '{ server: { selector: { matchLabels: { tier: back } } }, client: { meshTLS: { serviceAccounts: [{ name: web }] } } }',
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

describe('Linkerd', () => {
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
