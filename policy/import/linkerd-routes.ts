import { array, literal, object, optional, string } from '../../core/decode.ts';
import type { Decoded } from '../../core/decode.ts';
import { anything, readSpec, titleOf } from './foreign.ts';
import type { ForeignResource, Lose, LossReport } from './foreign.ts';
import { path as pathValue } from './istio-values.ts';

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
}

/** HTTPRoute and GRPCRoute, of Linkerd's own group or of the Gateway API. */
export class PolicyRoutes {
  readonly #routes = new Map<string, PolicyRoute>();

  constructor(resources: readonly ForeignResource[], report: LossReport) {
    for (const resource of resources) {
      const { kind, namespace, name } = resource;
      if (!isRoute(resource)) continue;
      const parents = readSpec(kind === 'GRPCRoute' ? grpcSpec : httpSpec, resource).parentRefs;
      const servers = new Set(parents.filter((each) => each.kind === 'Server').map((each) => each.name));
      if (servers.size === 0) continue;
      if (parents.some((each) => each.namespace !== undefined && each.namespace !== namespace))
        report.of(titleOf(resource))('spec.parentRefs', 'not carried over', 'a Server of another namespace is not its parent');
      this.#routes.set(`${kind}/${namespace}/${name}`, { resource, servers });
    }
  }

  get(kind: string, namespace: string, name: string): PolicyRoute | undefined {
    return this.#routes.get(`${kind}/${namespace}/${name}`);
  }
}

function isRoute({ apiVersion, kind }: ForeignResource): boolean {
  const isKnown = apiVersion.startsWith('policy.linkerd.io/') || apiVersion.startsWith('gateway.networking.k8s.io/');
  return isKnown && (kind === 'HTTPRoute' || kind === 'GRPCRoute');
}

/** Alternatives of `to` that a route is about. Empty where none of it can be said; the policy then lets nobody in. */
export function operationsOf({ resource }: PolicyRoute, lose: Lose): readonly object[] {
  const isGrpc = resource.kind === 'GRPCRoute';
  const hosts = readSpec(isGrpc ? grpcSpec : httpSpec, resource).hostnames.map((each) => each.toLowerCase());
  const found = isGrpc ? grpcOperations(resource) : httpOperations(resource, lose);
  const place = titleOf(resource);
  for (const operation of found) if (operation === undefined) lose(place, 'rule dropped', 'one of its matches cannot be said');
  return found.filter((each) => each !== undefined).map((each) => ({ ...each, ...(hosts.length === 0 ? {} : { hosts }) }));
}

function httpOperations(resource: ForeignResource, lose: Lose): readonly (object | undefined)[] {
  const read = readSpec(httpSpec, resource);
  return read.rules.flatMap(({ matches }) => {
    // Without matches, a rule is about every path (Gateway API, HTTPRouteRule).
    if (matches.length === 0) return [{ paths: [{ prefix: '/' }] }];
    return matches.map((match) => httpOperation(match, lose));
  });
}

function httpOperation({ path, method, headers, queryParams }: Decoded<typeof httpMatch>, lose: Lose): object | undefined {
  if (queryParams.length > 0) return undefined;
  const paths = path === undefined ? undefined : pathsOf(path);
  if (path !== undefined && paths?.length === 0) {
    lose('path', 'value dropped', `"${path.value}" is no path of a normalised request`);
    return undefined;
  }
  return {
    paths: paths ?? [{ prefix: '/' }],
    ...(method === undefined ? {} : { methods: [method] }),
    ...(headers.length === 0 ? {} : { headers: headers.map(headerOf) }),
  };
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

function grpcOperations(resource: ForeignResource): readonly (object | undefined)[] {
  const read = readSpec(grpcSpec, resource);
  return read.rules.flatMap(({ matches }) => {
    if (matches.length === 0) return [{ grpc: [{ service: '*' }] }];
    return matches.map(({ method, headers }) => {
      if (method?.type === 'RegularExpression') return undefined;
      const named = { service: method?.service ?? '*', ...(method?.method === undefined ? {} : { method: method.method }) };
      return { grpc: [named], ...(headers.length === 0 ? {} : { headers: headers.map(headerOf) }) };
    });
  });
}
