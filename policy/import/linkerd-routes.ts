import { array, literal, object, optional, string } from '../../core/decode.ts';
import type { Decoded } from '../../core/decode.ts';
import { anything, readSpec, titleOf } from './foreign.ts';
import type { ForeignResource, Lose, LossReport } from './foreign.ts';
import { path as pathValue } from './istio-values.ts';
import { withoutOthers } from './linkerd-precedence.ts';
import type { RouteMatch } from './linkerd-precedence.ts';

const matchType = (...words: readonly string[]) => optional(literal(...words), words[0] ?? '');
const value = object({ type: matchType('Exact', 'RegularExpression'), name: string(), value: string({ allowEmpty: true }) });
const parentRefs = optional(
  array(
    object({
      group: optional(string({ allowEmpty: true })),
      kind: optional(string()),
      name: string(),
      namespace: optional(string()),
      port: anything,
      sectionName: anything,
    }),
  ),
  [],
);
const httpMatch = object({
  path: optional(object({ type: matchType('PathPrefix', 'Exact', 'RegularExpression'), value: optional(string(), '/') })),
  method: optional(string()),
  headers: optional(array(value), []),
  queryParams: optional(array(anything), []),
});
const grpcMatch = object({
  method: optional(
    object({ type: matchType('Exact', 'RegularExpression'), service: optional(string()), method: optional(string()) }),
  ),
  headers: optional(array(value), []),
});
const rules = <T>(match: Parameters<typeof array<T>>[0]) =>
  object({
    parentRefs,
    hostnames: optional(array(string()), []),
    rules: optional(
      array(
        object({
          name: anything,
          matches: optional(array(match), []),
          filters: anything,
          backendRefs: anything,
          timeouts: anything,
          retry: anything,
          sessionPersistence: anything,
        }),
      ),
      [],
    ),
    useDefaultGateways: anything,
  });
const httpSpec = rules(httpMatch);
const grpcSpec = rules(grpcMatch);

/** A route whose parents are Servers. */
export interface PolicyRoute {
  readonly resource: ForeignResource;
  readonly servers: ReadonlySet<string>;
  readonly matches: readonly RouteMatch[];
}

interface ServerPlace {
  readonly namespace: string;
  readonly name: string;
  readonly proxyProtocol: string;
}

/** HTTPRoute and GRPCRoute, of Linkerd's own group or of the Gateway API. */
export class PolicyRoutes {
  readonly #routes = new Map<string, PolicyRoute>();

  constructor(resources: readonly ForeignResource[], report: LossReport) {
    for (const resource of resources) {
      const { apiVersion, kind, namespace, name } = resource;
      if (!isRoute(resource)) continue;
      const parents = readSpec(kind === 'GRPCRoute' ? grpcSpec : httpSpec, resource).parentRefs.filter(
        (each) => each.kind === 'Server',
      );
      if (parents.length === 0) continue;
      const lose = report.of(titleOf(resource));
      const isValid = parents.every(
        (each) => (each.namespace ?? namespace) === namespace && each.port === undefined && each.sectionName === undefined,
      );
      if (isValid) {
        const servers = new Set(parents.map((each) => each.name));
        this.#routes.set(keyOf(apiVersion, kind, namespace, name), { resource, servers, matches: matchesOf(resource, lose) });
      } else
        lose(
          'spec.parentRefs',
          'not carried over',
          'Linkerd refuses Servers of another namespace, ports and sections as parents',
        );
    }
  }

  get(group: string, kind: string, namespace: string, name: string): PolicyRoute | undefined {
    return this.#routes.get(keyOf(group, kind, namespace, name));
  }

  /** Routes that decide at a Server: those of its protocol. None: whatever comes in is the Server's. */
  at({ namespace, name, proxyProtocol }: ServerPlace): readonly PolicyRoute[] {
    const kind = routeKindOf(proxyProtocol);
    return [...this.#routes.values()].filter(
      ({ resource, servers }) => resource.kind === kind && resource.namespace === namespace && servers.has(name),
    );
  }
}

/** What routes a Server of a protocol has; undefined where it has connections only. */
function routeKindOf(proxyProtocol: string): string | undefined {
  if (proxyProtocol === 'opaque' || proxyProtocol === 'TLS') return undefined;
  return proxyProtocol === 'gRPC' ? 'GRPCRoute' : 'HTTPRoute';
}

function keyOf(apiVersion: string, ...names: readonly string[]): string {
  return [apiVersion.split('/')[0], ...names].join('/');
}

function isRoute({ apiVersion, kind }: ForeignResource): boolean {
  const isKnown = apiVersion.startsWith('policy.linkerd.io/') || apiVersion.startsWith('gateway.networking.k8s.io/');
  return isKnown && (kind === 'HTTPRoute' || kind === 'GRPCRoute');
}

/** Alternatives of `to` that the routes of a Server are about. Empty where none of it can be said; nobody is then let in. */
export function operationsOfAll(routes: readonly PolicyRoute[]): readonly object[] {
  return routes.flatMap(({ matches }) => matches.filter((each) => each.isSaid).map((each) => each.operation));
}

/** Alternatives of `to` for which one of the routes of a Server decides. */
export function operationsOf(route: PolicyRoute, all: readonly PolicyRoute[], lose: Lose): readonly object[] {
  const others = all.filter((each) => each !== route).flatMap(({ matches }) => matches);
  const place = titleOf(route.resource);
  return route.matches.flatMap(({ operation, isSaid }) => {
    if (!isSaid) return [];
    const rest = withoutOthers(operation, others);
    if (rest === undefined) lose(place, 'rule dropped', 'other routes of the Server may decide for the same requests');
    else if (!rest.isExact) lose(place, 'allows less', 'all that other routes may decide is left out');
    return rest === undefined ? [] : [rest.operation];
  });
}

function matchesOf(resource: ForeignResource, lose: Lose): readonly RouteMatch[] {
  const isGrpc = resource.kind === 'GRPCRoute';
  const hosts = readSpec(isGrpc ? grpcSpec : httpSpec, resource).hostnames.map((each) => each.toLowerCase());
  const found = isGrpc ? grpcMatches(resource) : httpMatches(resource, lose);
  if (found.some((each) => !each.isSaid)) lose('spec.rules', 'rule dropped', 'one of its matches cannot be said');
  return found.map((each) => ({ ...each, operation: { ...each.operation, ...(hosts.length === 0 ? {} : { hosts }) } }));
}

function httpMatches(resource: ForeignResource, lose: Lose): readonly RouteMatch[] {
  const read = readSpec(httpSpec, resource);
  return read.rules.flatMap(({ matches, filters }) => {
    // Without matches, a rule is about every path (Gateway API, HTTPRouteRule).
    const found = matches.length === 0 ? [EVERY_PATH] : matches.map((match) => httpMatchOf(match, lose));
    // Whoever is sent elsewhere does not get in.
    return found.map((each) => (redirects(filters) ? { ...each, isSaid: false } : each));
  });
}

const EVERY_PATH: RouteMatch = { operation: { paths: [{ prefix: '/' }] }, isSaid: true };

function redirects(filters: unknown): boolean {
  return Array.isArray(filters) && filters.some((each) => Object(each).type === 'RequestRedirect');
}

function httpMatchOf({ path, method, headers, queryParams }: Decoded<typeof httpMatch>, lose: Lose): RouteMatch {
  const paths = path === undefined ? [{ prefix: '/' }] : pathsOf(path);
  if (paths.length === 0) {
    lose('path', 'value dropped', `"${path?.value}" is no path of a normalised request`);
    return { operation: {}, isSaid: false };
  }
  const operation = {
    paths,
    ...(method === undefined ? {} : { methods: [method] }),
    ...(headers.length === 0 ? {} : { headers: headers.map(headerOf) }),
  };
  return { operation, isSaid: queryParams.length === 0 };
}

function pathsOf({ type, value: text }: { readonly type: string; readonly value: string }): readonly object[] {
  if (type === 'RegularExpression') return [{ regex: text }];
  if (/[*{}]/.test(text)) return [];
  const { patterns } = pathValue(text, false);
  if (type === 'Exact') return patterns;
  return patterns.map((each) => ({ prefix: Reflect.get(each, 'exact') }));
}

function headerOf({ type, name, value: text }: Decoded<typeof value>): object {
  return type === 'Exact' ? { name, exact: text } : { name, regex: text };
}

function grpcMatches(resource: ForeignResource): readonly RouteMatch[] {
  const read = readSpec(grpcSpec, resource);
  return read.rules.flatMap(({ matches }): readonly RouteMatch[] => {
    if (matches.length === 0) return [{ operation: { grpc: [{ service: '*' }] }, isSaid: true }];
    return matches.map(({ method, headers }) => {
      if (method?.type === 'RegularExpression') return { operation: {}, isSaid: false };
      const named = { service: method?.service ?? '*', ...(method?.method === undefined ? {} : { method: method.method }) };
      return { operation: { grpc: [named], ...(headers.length === 0 ? {} : { headers: headers.map(headerOf) }) }, isSaid: true };
    });
  });
}
