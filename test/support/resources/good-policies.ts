/** A specification of each kind of policies that has every field. */
export const FULL_POLICIES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  AuthorizationPolicy: {
    action: 'ALLOW',
    mode: 'DryRun',
    failureMode: 'Open',
    selector: { matchLabels: { app: 'orders' } },
    attested: ['k8s:ns:shop'],
    targetRefs: [{ kind: 'ServiceAccount', name: 'orders' }],
    rules: [
      {
        from: [
          {
            spiffeIDs: ['spiffe://example.org/ns/*/sa/web', 'spiffe://example.org/**'],
            trustDomains: ['example.org'],
            namespaces: ['shop', 'team-*'],
            serviceAccounts: ['web', 'shop/w*'],
            ipBlocks: ['10.0.0.0/8', '::1', '2001:db8::/32', '192.0.2.1'],
            users: [{ issuer: 'https://login.example.org', subjects: ['al*'], roles: ['admin'], scopes: ['orders.read'] }],
            not: { namespaces: ['team-x'] },
          },
        ],
        to: [
          {
            ports: ['443', '8000-8999'],
            hosts: ['*.example.org', 'orders', '[::1]', '*'],
            methods: ['GET', 'POST'],
            paths: [{ exact: '/a' }, { prefix: '/b/' }, { suffix: '.css' }, { template: '/o/{id}' }, { regex: '/v[0-9]+/.*' }],
            headers: [
              { name: 'X-Tenant', exact: 'acme' },
              { name: 'x-debug', present: false },
            ],
            grpc: [{ service: 'shop.v1.Orders', method: 'Get' }],
            not: { paths: [{ prefix: '/b/secret' }] },
          },
        ],
        when: 'request.headers["x-tenant"] == "acme"',
        relations: [{ user: 'user:{user.subject}', relation: 'viewer', object: 'order:{path.id}' }],
      },
    ],
  },
  ClusterAuthorizationPolicy: {
    action: 'DENY',
    mode: 'Enforce',
    failureMode: 'Closed',
    namespaceSelector: { matchLabels: { tier: 'core' } },
    selector: { matchExpressions: [{ key: 'app', operator: 'Exists' }] },
    attested: ['unix:uid:1000'],
    spiffeIDs: ['spiffe://example.org/**'],
    rules: [{ from: [{ not: { trustDomains: ['example.org'] } }] }, {}],
  },
  RequestAuthentication: {
    selector: { matchLabels: { app: 'orders' } },
    issuers: [
      {
        issuer: 'https://login.example.org',
        jwksUri: 'https://login.example.org/keys',
        audiences: ['orders'],
        claims: { roles: 'realm_access.roles' },
      },
    ],
    tokens: 'Required',
    headers: ['authorization', 'x-token'],
  },
};
