import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { importIstio } from '../../../../policy/import/istio.ts';
import { parseRequestAuthentication } from '../../../../policy/resources/request-authentication.ts';
import { verdictsOf } from '../../../support/policy/verdicts.ts';

function imported(kind: string, spec: unknown, metadata: object = {}) {
  const document = { apiVersion: 'security.istio.io/v1', kind, metadata: { name: 'p', namespace: 'shop', ...metadata }, spec };
  const { resources, losses } = importIstio([document], { trustDomain: 'example.org' });
  return { resources, losses: losses.map(({ field, effect }) => `${field}: ${effect}`) };
}

const trimmed = (text: string): string => text.trim().replaceAll(/^\s+/gm, '');

/** Title, specification, what is decided, what is lost. */
const CASES: readonly (readonly [string, string, string, readonly string[]])[] = [
  ['nothing: all is denied', '{}', 'web GET /: deny\nnobody GET /: deny', []],
  ['everything', 'rules: [{}]', 'web GET /: allow\nnobody connect: allow', []],
  [
    'a service account of the mesh',
    'rules: [{ from: [{ source: { principals: [cluster.local/ns/shop/sa/web] } }] }]',
    'web GET /: allow\nbatch GET /: deny\nnobody GET /: deny',
    [],
  ],
  [
    'principals by prefix',
    'rules: [{ from: [{ source: { principals: ["example.org/ns/billing/*", "partner.example/*"] } }] }]',
    'batch GET /: allow\npartner GET /: allow\nweb GET /: deny',
    [],
  ],
  [
    'principals by suffix, as far as they go',
    'rules: [{ from: [{ source: { principals: ["*/sa/web"] } }] }]',
    'web GET /: allow\nbatch GET /: deny',
    ['spec.rules[0].from[0].source.principals: allows less'],
  ],
  [
    'anybody with an identity',
    'rules: [{ from: [{ source: { principals: ["*"] } }] }]',
    'web GET /: allow\nhost GET /: allow\nnobody GET /: deny',
    [],
  ],
  [
    'namespaces and methods',
    'rules: [{ from: [{ source: { namespaces: [shop, "bill*"] } }], to: [{ operation: { methods: [GET] } }] }]',
    'web GET /x: allow\nbatch GET /x: allow\nadmin GET /x: deny\nweb POST /x: deny\nweb connect: deny',
    [],
  ],
  [
    'addresses of the peer',
    'rules: [{ from: [{ source: { ipBlocks: [10.1.0.0/16] } }] }]',
    'web GET /: allow\nbatch GET /: deny',
    [],
  ],
  [
    'addresses that proxies tell',
    'rules: [{ from: [{ source: { remoteIpBlocks: [10.1.0.0/16] } }] }, { to: [{ operation: { paths: [/health] } }] }]',
    'web GET /: deny\nweb GET /health: allow',
    ['spec.rules[0].from[0].source.remoteIpBlocks: rule dropped'],
  ],
  [
    'paths',
    'rules: [{ to: [{ operation: { paths: [/a, /b*, /c/*, "*.css", "/d/{*}/e"] } }] }]',
    `web GET /a: allow
     web GET /ab: deny
     web GET /b: allow
     web GET /bc/d: allow
     web GET /c: deny
     web GET /c/d: allow
     web GET /x/y.css: allow
     web GET /d/1/e: allow
     web GET /d/1/2/e: deny`,
    ['spec.rules[0].to[0].operation.paths: allows less'],
  ],
  [
    'all but some paths',
    'rules: [{ to: [{ operation: { notPaths: [/admin/*] } }] }]',
    'web GET /a: allow\nweb GET /admin/x: deny\nweb GET /admin: deny\nweb connect: deny',
    [],
  ],
  [
    'hosts and ports',
    'rules: [{ to: [{ operation: { hosts: [Orders, "*.example.org"], ports: ["8443"] } }] }]',
    'web GET /: allow',
    [],
  ],
  [
    'a header in a condition',
    'rules: [{ when: [{ key: "request.headers[x-a]", values: ["1", "2*"] }] }]',
    'web GET /: deny\nweb connect: deny',
    [],
  ],
  [
    'conditions over the caller',
    'rules: [{ when: [{ key: source.namespace, values: [shop] }, { key: source.principal, notValues: ["*/sa/batch"] }] }]',
    'web GET /: deny',
    ['spec.rules[0].when[1].notValues: rule dropped'],
  ],
  [
    'claims of users',
    'rules: [{ when: [{ key: "request.auth.claims[groups]", values: [admin] }] }]',
    'web GET /: deny',
    ['spec.rules[0].when[0].values: rule dropped'],
  ],
  ['users', 'rules: [{ from: [{ source: { requestPrincipals: ["https://login.example.org/alice"] } }] }]', 'web GET /: deny', []],
  [
    'a field twice',
    'rules: [{ from: [{ source: { namespaces: [shop] } }], when: [{ key: source.namespace, values: [billing] }] }]',
    'web GET /: deny\nbatch GET /: deny',
    ['spec.rules[0].when[0].values: rule dropped'],
  ],
  [
    'a header that must not be there',
    'rules: [{ when: [{ key: "request.headers[x-a]", notValues: ["*"] }] }]',
    'web GET /: allow',
    [],
  ],
  [
    'methods, each once',
    'rules: [{ to: [{ operation: { methods: ["*", GET, "P*"] } }] }]',
    'web GET /: allow',
    ['spec.rules[0].to[0].operation.methods: allows less'],
  ],
  [
    'methods in other letters are others',
    'rules: [{ to: [{ operation: { methods: [get] } }] }]',
    'web GET /: deny',
    ['spec.rules[0].to[0].operation.methods: rule dropped'],
  ],
  [
    'no range of ports',
    'rules: [{ to: [{ operation: { ports: ["8000-8999"] } }] }]',
    'web GET /: deny',
    ['spec.rules[0].to[0].operation.ports: rule dropped'],
  ],
  [
    'no wildcard among service accounts',
    'rules: [{ from: [{ source: { serviceAccounts: ["shop/*"] } }] }]',
    'web GET /: deny',
    ['spec.rules[0].from[0].source.serviceAccounts: rule dropped'],
  ],
  [
    'no scheme before a principal',
    'rules: [{ from: [{ source: { principals: ["spiffe://example.org/ns/shop/sa/web"] } }] }]',
    'web GET /: deny',
    ['spec.rules[0].from[0].source.principals: rule dropped'],
  ],
  [
    'trust domains',
    'rules: [{ from: [{ source: { trustDomains: [cluster.local] } }] }]',
    'web GET /: allow\npartner GET /: deny\nnobody GET /: deny',
    [],
  ],
  ['lists that are empty', 'rules: [{ from: [], to: [], when: [] }]', 'web GET /: allow', []],
  ['a gateway', 'targetRefs: [{ kind: Gateway, name: g }]\nrules: [{}]', 'web GET /: deny', ['spec.targetRefs: rule dropped']],
];

test.each(CASES)('ALLOW: %s', (_title, spec, expected, lost) => {
  const { resources, losses } = imported('AuthorizationPolicy', parse(spec));
  expect(verdictsOf(resources, expected, 'deny')).toBe(trimmed(expected));
  expect(losses).toEqual(lost);
});

const DENIALS: typeof CASES = [
  ['no rules', '{}', 'web GET /: allow', []],
  ['lists that are empty', 'rules: [{ from: [], to: [], when: [] }]', 'web GET /: deny', []],
  [
    'a path and what is below',
    'rules: [{ to: [{ operation: { paths: [/admin/*] } }] }]',
    'web GET /admin/x: deny\nweb GET /admin/: deny\nweb GET /a: allow',
    [],
  ],
  [
    'an open template',
    'rules: [{ to: [{ operation: { paths: ["/t/{*}/{**}"] } }] }]',
    'web GET /t/1: deny\nweb GET /t/1/2/3: deny\nweb GET /t: allow',
    [],
  ],
  [
    'all but a namespace',
    'rules: [{ from: [{ source: { notNamespaces: [shop] } }] }]',
    'web GET /: allow\nbatch GET /: deny\nnobody GET /: deny',
    [],
  ],
  [
    'what cannot be said is left out',
    'rules: [{ from: [{ source: { namespaces: [billing], remoteIpBlocks: [1.2.3.4] } }] }]',
    'batch GET /: deny\nweb GET /: allow',
    ['spec.rules[0].from[0].source.remoteIpBlocks: denies more'],
  ],
  [
    'even where nothing else is said',
    'rules: [{ from: [{ source: { principals: ["*/sa/web"] } }] }]',
    'web GET /: deny\nbatch GET /: deny',
    ['spec.rules[0].from[0].source.principals: denies more'],
  ],
  [
    'a condition that cannot be said',
    'rules: [{ to: [{ operation: { methods: [PUT] } }], when: [{ key: connection.sni, values: [a] }] }]',
    'web PUT /: deny\nweb GET /: allow',
    ['spec.rules[0].when[0].values: denies more'],
  ],
  [
    'all but a principal by suffix',
    'rules: [{ from: [{ source: { notPrincipals: ["*/sa/web"] } }] }]',
    'web GET /: allow\nbatch GET /: deny',
    ['spec.rules[0].from[0].source.notPrincipals: denies more'],
  ],
  [
    'methods by prefix',
    'rules: [{ to: [{ operation: { methods: ["P*"] } }] }]',
    'web PUT /: deny\nweb GET /: deny',
    ['spec.rules[0].to[0].operation.methods: denies more'],
  ],
  [
    'a suffix with a slash',
    'rules: [{ to: [{ operation: { paths: ["*/x/"] } }] }]',
    'web GET /x/: deny',
    ['spec.rules[0].to[0].operation.paths: denies more'],
  ],
];

test.each(DENIALS)('DENY: %s', (_title, spec, expected, lost) => {
  const { resources, losses } = imported('AuthorizationPolicy', { action: 'DENY', ...parse(spec) });
  expect(verdictsOf(resources, expected, 'allow')).toBe(trimmed(expected));
  expect(losses).toEqual(lost);
});

test.each([
  ['*', '1', 'allow'],
  ['*', '', 'allow'],
  ['*bad*', 'xbad*', 'allow'],
  ['*bad*', 'xbady', 'deny'],
  ['*bad', 'xbad', 'allow'],
  ['b*d', 'bad', 'deny'],
  ['b*d', 'b*d', 'allow'],
  ['2*', '27', 'allow'],
  ['2*', '12', 'deny'],
  ['2.', '2x', 'deny'],
])('ALLOW: a header that is %j, sent as %j', (value, sent, expected) => {
  const { resources } = imported('AuthorizationPolicy', {
    rules: [{ when: [{ key: 'request.headers[x-a]', values: [value] }] }],
  });
  expect(verdictsOf(resources, [['web', 'GET /', '', { headers: [['x-a', sent]] }]], 'deny')).toBe(`web GET /: ${expected}`);
});

describe('what policies are about', () => {
  const selector = { matchLabels: { app: 'orders' } };

  test('labels, the root namespace, dry runs', () => {
    expect(imported('AuthorizationPolicy', { selector }).resources).toMatchObject([
      { spec: { selector }, metadata: { namespace: 'shop' } },
    ]);
    const root = { namespace: 'istio-system', annotations: { 'istio.io/dry-run': 'true' } };
    expect(imported('AuthorizationPolicy', { action: 'AUDIT' }, root).resources).toEqual([
      {
        apiVersion: 'countersign.dev/v1alpha1',
        kind: 'ClusterAuthorizationPolicy',
        metadata: { name: 'p' },
        spec: { mode: 'DryRun', action: 'AUDIT', rules: [] },
      },
    ]);
  });

  test.each([
    ['shop', 'DENY', 'it holds for any workload of the namespace'],
    ['istio-system', 'DENY', 'it holds for any workload of the mesh'],
    ['istio-system', 'ALLOW', 'it lets nobody in to any workload of the mesh'],
  ])('a target in %s, of a policy to %s, is said to be about as much as it is', (namespace, action, why) => {
    const spec = { action, targetRefs: [{ kind: 'Gateway', name: 'g' }], rules: [{ from: [{ source: { namespaces: ['a'] } }] }] };
    const document = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'p', namespace },
      spec,
    };
    expect(importIstio([document], { trustDomain: 'a' }).losses).toMatchObject([{ why: expect.stringContaining(why) }]);
  });

  test.each([
    [{ namespaces: ['billing'] }, { spiffeIDs: ['spiffe://*/ns/billing/**'] }, []],
    [{ serviceAccounts: ['web'] }, { spiffeIDs: ['spiffe://*/ns/shop/sa/web'] }, []],
    [
      { namespaces: ['billing'], principals: ['partner.example/ns/billing/sa/x'] },
      { spiffeIDs: ['spiffe://partner.example/ns/billing/sa/x'] },
      ['spec.rules[0].from: denies more'],
    ],
  ])('a DENY of %j is about callers of other trust domains, too', (source, clause, lost) => {
    const { resources, losses } = imported('AuthorizationPolicy', { action: 'DENY', rules: [{ from: [{ source }] }] });
    expect(resources).toMatchObject([{ spec: { rules: [{ from: [{}, clause] }] } }]);
    expect(losses).toEqual(lost);
  });

  test('methods stand there once each, and none that no request has', () => {
    const { resources } = imported('AuthorizationPolicy', {
      rules: [{ to: [{ operation: { methods: ['P*', 'POST', 'get'] } }] }],
    });
    expect(resources).toMatchObject([{ spec: { rules: [{ to: [{ methods: ['POST', 'PUT', 'PATCH'] }] }] } }]);
  });

  test.each([
    [[{ requestPrincipals: ['https://a.example/b/c'] }], [{ issuer: 'https://a.example/b', subjects: ['c'] }]],
    [[{ requestPrincipals: ['https://a.example/b/c*'] }], [{ issuer: 'https://a.example/b', subjects: ['c*'] }]],
  ])('a user is taken apart at the last slash: %j', ([source], users) => {
    const { resources } = imported('AuthorizationPolicy', { rules: [{ from: [{ source }] }] });
    expect(resources).toMatchObject([{ spec: { rules: [{ from: [{ users }] }] } }]);
  });

  test('what an external authorizer decides is denied', () => {
    const { resources, losses } = imported('AuthorizationPolicy', { action: 'CUSTOM', provider: { name: 'x' }, rules: [{}] });
    expect(resources).toMatchObject([{ spec: { action: 'DENY', rules: [{}] } }]);
    expect(losses).toEqual(['spec.action: denies more']);
  });

  test('an unknown field is refused, and so is what does not fit', () => {
    expect(() => imported('AuthorizationPolicy', { rule: [] })).toThrow('AuthorizationPolicy shop/p:\nrule: unknown key');
    expect(() => imported('AuthorizationPolicy', { rules: [{ to: [{ operation: { ports: ['0'] } }] }] })).toThrow(
      'AuthorizationPolicy shop/p:\nspec.rules[0].to[0].ports[0]',
    );
  });

  test('documents of others are passed over', () => {
    expect(importIstio([{ apiVersion: 'v1', kind: 'Service' }], { trustDomain: 'a' })).toEqual({ resources: [], losses: [] });
  });
});

describe('PeerAuthentication', () => {
  const callers = 'web GET /: allow\nnobody GET /: deny\nnobody connect: deny';

  test('STRICT denies callers without an identity', () => {
    const { resources, losses } = imported('PeerAuthentication', { mtls: { mode: 'STRICT' } });
    expect(verdictsOf(resources, callers, 'allow')).toBe(callers);
    expect(losses).toEqual([]);
  });

  test.each([
    [{ mtls: { mode: 'STRICT' }, portLevelMtls: { 8443: { mode: 'PERMISSIVE' } } }, 'allow'],
    [{ mtls: { mode: 'STRICT' }, portLevelMtls: { 80: { mode: 'DISABLE' } } }, 'deny'],
    [{ portLevelMtls: { 8443: { mode: 'STRICT' } } }, 'deny'],
    [{ portLevelMtls: { 80: { mode: 'STRICT' } } }, 'allow'],
  ])('ports: %j', (spec, expected) => {
    const { resources } = imported('PeerAuthentication', { selector: { matchLabels: { app: 'orders' } }, ...spec });
    expect(verdictsOf(resources, [['nobody', 'GET /', '']], 'allow')).toBe(`nobody GET /: ${expected}`);
  });

  test('ports that are let off say what they do not undo', () => {
    const spec = {
      selector: { matchLabels: { app: 'orders' } },
      portLevelMtls: { 8080: { mode: 'DISABLE' }, 80: { mode: 'UNSET' } },
    };
    expect(imported('PeerAuthentication', spec)).toEqual({ resources: [], losses: ['spec.portLevelMtls.8080: denies more'] });
  });

  test('Istio passes over ports without a selector, and a selector in the root namespace', () => {
    const ports = { mtls: { mode: 'STRICT' }, portLevelMtls: { 8443: { mode: 'PERMISSIVE' } } };
    const { resources, losses } = imported('PeerAuthentication', ports);
    expect(verdictsOf(resources, callers, 'allow')).toBe(callers);
    expect(losses).toEqual(['spec.portLevelMtls: not carried over']);
    const root = { ...ports, selector: { matchLabels: { app: 'orders' } } };
    expect(imported('PeerAuthentication', root, { namespace: 'istio-system' })).toEqual({
      resources: [],
      losses: ['spec.selector: not carried over'],
    });
  });

  test('PERMISSIVE is nothing, and says what it does not undo', () => {
    expect(imported('PeerAuthentication', { mtls: { mode: 'PERMISSIVE' } })).toEqual({
      resources: [],
      losses: ['spec.mtls.mode: denies more'],
    });
  });
});

describe('RequestAuthentication', () => {
  const issuer = { issuer: 'https://login.example.org', audiences: ['orders'] };

  test('issuers, keys and headers', () => {
    const rule = {
      ...issuer,
      jwksUri: 'https://login.example.org/keys',
      fromHeaders: [{ name: 'x-token' }, { name: 'x', prefix: 'T ' }],
      forwardOriginalToken: true,
    };
    const { resources, losses } = imported('RequestAuthentication', { jwtRules: [rule] });
    expect(parseRequestAuthentication(resources[0])).toMatchObject({
      issuers: [{ ...issuer, jwksUri: 'https://login.example.org/keys' }],
      headers: ['x-token'],
      tokens: 'Optional',
    });
    expect(losses).toEqual([
      'spec.jwtRules[0].forwardOriginalToken: not carried over',
      'spec.jwtRules[0].fromHeaders[1]: not carried over',
    ]);
  });

  test.each([[{ issuer: 'https://a' }], [{ ...issuer, issuer: 'a@b' }], [{ ...issuer, jwks: '{}' }]])(
    'an issuer that cannot be carried over is not accepted: %j',
    (rule) => {
      const { resources, losses } = imported('RequestAuthentication', { jwtRules: [rule] });
      expect(resources).toEqual([]);
      expect(losses).toContain('spec.jwtRules[0]: not carried over');
    },
  );

  test('of the whole mesh there is none', () => {
    const { losses } = imported('RequestAuthentication', { jwtRules: [issuer] }, { namespace: 'istio-system' });
    expect(losses).toEqual(['metadata.namespace: not carried over']);
  });
});
