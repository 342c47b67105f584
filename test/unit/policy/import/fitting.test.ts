// Foreign policies that are larger than one of ours.
import { describe, expect, test } from 'vitest';
import { compile } from '../../../../policy/compile/snapshot.ts';
import { decide } from '../../../../policy/decide.ts';
import { loadAllExpressions } from '../../../../policy/expressions/load.ts';
import { importConsul } from '../../../../policy/import/consul.ts';
import { importIstio } from '../../../../policy/import/istio.ts';
import { importLinkerd } from '../../../../policy/import/linkerd.ts';
import type { Imported } from '../../../../policy/import/losses.ts';
import type { Destination } from '../../../../policy/model.ts';
import { normalizeRequest } from '../../../../policy/normalize/request.ts';
import { parsePolicy } from '../../../../policy/parse-policy.ts';
import { parseSpiffeId } from '../../../../spiffe/spiffe-id.ts';

const expressions = await loadAllExpressions();
const destination: Destination = {
  namespace: 'shop',
  serviceAccount: 'orders',
  selectors: new Set(['k8s:pod-label:app:orders']),
  port: 8080,
};

const numbered = (count: number, text: (index: number) => string): string[] =>
  Array.from({ length: count }, (_, index) => text(index));

/** Whether `shop/client-N` may GET a path. */
function judge({ resources }: Pick<Imported, 'resources'>) {
  const policies = resources.map((each) => parsePolicy(each));
  const snapshot = compile(policies, { defaultAction: 'deny', expressions });
  expect([...snapshot.policies.values()].flatMap(({ problems }) => problems)).toEqual([]);
  return (client: number, target: string): string => {
    const serviceAccount = `client-${client}`;
    const source = {
      spiffeId: parseSpiffeId(`spiffe://example.org/ns/shop/sa/${serviceAccount}`),
      namespace: 'shop',
      serviceAccount,
    };
    const request = normalizeRequest({ method: 'GET', target, authority: 'orders', headers: [] });
    return decide(snapshot, { source, destination, ...request, atMs: 0 }).verdict;
  };
}

const effects = ({ losses }: Imported): readonly string[] => losses.map(({ field, effect }) => `${field}: ${effect}`);

describe('Istio', () => {
  const istio = (spec: object, name = 'p', ...more: readonly object[]): Imported => {
    const document = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name, namespace: 'shop' },
      spec,
    };
    return importIstio([document, ...more], { trustDomain: 'example.org' });
  };
  const principals = numbered(200, (index) => `example.org/ns/shop/sa/client-${index}`);
  const paths = numbered(100, (index) => `/p${index}`);

  test('200 principals and 100 paths are divided, and mean the same', () => {
    const imported = istio({ rules: [{ from: [{ source: { principals } }], to: [{ operation: { paths, methods: ['GET'] } }] }] });
    expect(imported.losses).toEqual([]);
    expect(imported.resources).toHaveLength(1);
    const may = judge(imported);
    expect([0, 63, 64, 199].map((client) => [0, 63, 64, 99].map((path) => may(client, `/p${path}`)))).toEqual(
      Array.from({ length: 4 }, () => Array.from({ length: 4 }, () => 'allow')),
    );
    expect([may(200, '/p0'), may(0, '/p100')]).toEqual(['deny', 'deny']);
  });

  test('more clauses than a rule has, and more rules than a policy has, become more rules and policies', () => {
    const rules = numbered(40, (index) => `/r${index}`).map((path, rule) => ({
      from: numbered(40, (index) => principals[(rule + index) % 200] ?? '').map((each) => ({ source: { principals: [each] } })),
      to: [{ operation: { paths: [path] } }],
    }));
    const other = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'p-2', namespace: 'shop' },
      spec: {},
    };
    const imported = istio({ rules }, 'p', other);
    const names = imported.resources.map((each) => parsePolicy(each).name.name);
    expect(names).toEqual(['p', 'p-3', 'p-2']);
    const may = judge(imported);
    expect([may(0, '/r0'), may(39, '/r0'), may(40, '/r0'), may(39, '/r39'), may(78, '/r39'), may(79, '/r39')]).toEqual([
      'allow',
      'allow',
      'deny',
      'allow',
      'allow',
      'deny',
    ]);
  });

  test('what is excluded cannot be divided: an ALLOW loses the clause, a DENY some of the exceptions', () => {
    const rules = [{ from: [{ source: { notPrincipals: principals } }, { source: { principals: principals.slice(0, 1) } }] }];
    const allow = istio({ rules });
    expect(effects(allow)).toEqual(['our rules[0].from[0].not.spiffeIDs: rule dropped']);
    expect([judge(allow)(0, '/'), judge(allow)(300, '/')]).toEqual(['allow', 'deny']);
    const deny = istio({ action: 'DENY', rules: [{ from: [{ source: { notPrincipals: principals } }] }] });
    expect(effects(deny)).toEqual(['our rules[0].from[0].not.spiffeIDs: denies more']);
    const open = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'o', namespace: 'shop' },
      spec: { rules: [{}] },
    };
    const may = judge(istio({ action: 'DENY', rules: [{ from: [{ source: { notPrincipals: principals } }] }] }, 'p', open));
    expect([may(0, '/'), may(100, '/'), may(300, '/')]).toEqual(['allow', 'deny', 'deny']);
  });

  test('a value that is too long is lost: an ALLOW loses it, a DENY is about all paths', () => {
    const long = `/${'a'.repeat(1100)}`;
    const to = [{ operation: { paths: ['/short', long, `${long}*`] } }];
    const allow = istio({ rules: [{ to }] });
    expect(effects(allow)).toEqual(['our rules[0].to[0].paths: value dropped']);
    expect([judge(allow)(0, '/short'), judge(allow)(0, '/b')]).toEqual(['allow', 'deny']);
    const deny = istio({ action: 'DENY', rules: [{ to }] });
    expect(effects(deny)).toEqual(['our rules[0].to[0].paths: denies more']);
    expect(deny.resources).toMatchObject([{ spec: { action: 'DENY', rules: [{}] } }]);
  });
});

test('more issuers than one resource has: tokens of the others are not accepted', () => {
  const jwtRules = numbered(20, (index) => `https://issuer-${index}.example`).map((issuer, index) => ({
    issuer,
    audiences: ['orders'],
    fromHeaders: [{ name: `x-token-${index}`, prefix: 'Bearer ' }],
  }));
  const metadata = { name: 'p', namespace: 'shop' };
  const document = { apiVersion: 'security.istio.io/v1', kind: 'RequestAuthentication', metadata, spec: { jwtRules } };
  const imported = importIstio([document], { trustDomain: 'example.org' });
  expect(effects(imported)).toEqual(['spec.jwtRules: not carried over', 'spec.jwtRules: not carried over']);
  expect(imported.resources).toMatchObject([{ spec: { issuers: jwtRules.slice(0, 16).map(({ issuer }) => ({ issuer })) } }]);
});

describe('Linkerd', () => {
  const policy = (kind: string, name: string, spec: object) => ({
    apiVersion: 'policy.linkerd.io/v1beta3',
    kind,
    metadata: { name, namespace: 'shop' },
    spec,
  });
  const server = policy('Server', 'orders', { podSelector: { matchLabels: { app: 'orders' } }, port: 8080 });
  const route = (name: string, matches: readonly object[]) =>
    policy('HTTPRoute', name, {
      parentRefs: [{ kind: 'Server', name: 'orders', group: 'policy.linkerd.io' }],
      rules: [{ matches }],
    });
  const grant = (name: string, client: string) =>
    policy('AuthorizationPolicy', name, {
      targetRef: { group: 'policy.linkerd.io', kind: 'HTTPRoute', name },
      requiredAuthenticationRefs: [{ group: 'policy.linkerd.io', kind: 'MeshTLSAuthentication', name: client }],
    });

  test('200 identities, 100 matches and 40 policies mean the same', () => {
    const identities = numbered(200, (index) => `client-${index}.shop.serviceaccount.identity.linkerd.cluster.local`);
    const routes = numbered(40, (index) => `r${index}`).flatMap((name, index) => [
      route(
        name,
        numbered(index === 0 ? 100 : 1, (each) => `/${name}-${each}`).map((value) => ({ path: { type: 'Exact', value } })),
      ),
      grant(name, 'clients'),
    ]);
    const imported = importLinkerd([server, policy('MeshTLSAuthentication', 'clients', { identities }), ...routes]);
    expect(effects(imported)).toEqual(['spec.port: denies more']);
    const may = judge(imported);
    expect([may(0, '/r0-0'), may(199, '/r0-99'), may(100, '/r39-0'), may(200, '/r0-0'), may(0, '/r39-1')]).toEqual([
      'allow',
      'allow',
      'allow',
      'deny',
      'deny',
    ]);
  });

  test('a regular expression that RE2 does not take is lost', () => {
    const matches = ['/(?=a).*', '/[a-z]+'].map((value) => ({ path: { type: 'RegularExpression', value } }));
    const clients = policy('MeshTLSAuthentication', 'clients', { identities: ['*'] });
    const imported = importLinkerd([server, clients, route('r', matches), grant('r', 'clients')]);
    expect(effects(imported)).toContain('our rules[0].to[0].paths: rule dropped');
    expect([judge(imported)(0, '/abc'), judge(imported)(0, '/ABC')]).toEqual(['allow', 'deny']);
  });
});

describe('Consul', () => {
  const consul = (sources: readonly object[], defaultPolicy: 'allow' | 'deny' = 'deny'): Imported =>
    importConsul([{ Kind: 'service-intentions', Name: 'orders', Sources: sources }], { namespace: 'shop', defaultPolicy });

  test('200 sources, one with 100 permissions, and a wildcard mean the same', () => {
    const named = numbered(200, (index) => `client-${index}`).map((Name) => ({ Name, Action: 'allow' }));
    const permissions = numbered(100, (index) => `/p${index}`).map((PathExact) => ({ Action: 'allow', HTTP: { PathExact } }));
    const sources = [...named.slice(1), { Name: 'client-0', Permissions: permissions }, { Name: 'client-300', Action: 'deny' }];
    const imported = consul([...sources, { Name: '*', Permissions: [{ Action: 'allow', HTTP: { PathExact: '/all' } }] }]);
    expect(effects(imported)).toEqual(['spec.sources[201]: allows less']);
    expect(imported.resources.map((each) => parsePolicy(each).name.name)).toEqual(
      numbered(4, (index) => `orders-intentions${index === 0 ? '' : `-${index + 1}`}`),
    );
    const may = judge(imported);
    expect([may(0, '/p99'), may(1, '/x'), may(199, '/x'), may(250, '/all')]).toEqual(['allow', 'allow', 'allow', 'allow']);
    expect([may(0, '/x'), may(0, '/all'), may(250, '/x'), may(300, '/all')]).toEqual(['deny', 'deny', 'deny', 'deny']);
  });

  test('too many sources that are denied: the wildcard after them lets nobody in', () => {
    const denied = numbered(100, (index) => `client-${index}`).map((Name) => ({ Name, Action: 'deny' }));
    const imported = consul([...denied, { Name: '*', Action: 'allow' }]);
    expect(effects(imported)).toEqual([
      'spec.sources[100]: allows less',
      'our rules[0].from[0].not.serviceAccounts: rule dropped',
    ]);
    expect([judge(imported)(0, '/'), judge(imported)(200, '/')]).toEqual(['deny', 'deny']);
  });
});
