import { array, integer, literal, object, optional, record, string } from '../../core/decode.ts';
import type { Decoded } from '../../core/decode.ts';
import { fitted } from './fitting.ts';
import type { DraftedPolicy, RuleDraft } from './fitting.ts';
import { anything, foreignResource, LossReport, readSpec, titleOf } from './foreign.ts';
import type { ForeignResource, Lose } from './foreign.ts';
import { Authentications } from './linkerd-clients.ts';
import type { LinkerdOptions, SourceClauses } from './linkerd-clients.ts';
import { operationsOf, operationsOfAll, PolicyRoutes } from './linkerd-routes.ts';
import type { PolicyRoute } from './linkerd-routes.ts';
import type { Imported } from './losses.ts';
import { NamedPorts } from './named-ports.ts';
import { ANY_ID } from './istio-values.ts';

const labels = optional(
  object({ matchLabels: optional(record(string({ allowEmpty: true })), {}), matchExpressions: optional(array(anything), []) }),
);
const serverSpec = object({
  podSelector: labels,
  externalWorkloadSelector: anything,
  port: anything,
  proxyProtocol: optional(string(), 'unknown'),
  accessPolicy: optional(string(), 'deny'),
});
const reference = object({
  group: optional(string({ allowEmpty: true }), ''),
  kind: string(),
  name: string(),
  namespace: optional(string()),
});
const policySpec = object({ targetRef: reference, requiredAuthenticationRefs: array(reference) });
const serverAuthorizationSpec = object({
  server: object({ name: optional(string()), selector: labels }),
  client: object({
    unauthenticated: optional({ read: (input) => input === true }, false),
    networks: optional(array(anything)),
    meshTLS: anything,
  }),
});

interface Server {
  readonly resource: ForeignResource;
  readonly spec: Decoded<typeof serverSpec>;
  readonly lose: Lose;
}

/** Who may do what at a server: the clauses of one rule of ours. Without `to`, whatever its routes are about. */
interface Grant {
  readonly from: SourceClauses;
  readonly to: readonly object[] | undefined;
}

/**
 * Translates Linkerd's Server, AuthorizationPolicy, ServerAuthorization, MeshTLSAuthentication, NetworkAuthentication, HTTPRoute and
 * GRPCRoute (`policy.linkerd.io`, and routes of `gateway.networking.k8s.io` whose parent is a Server). Each Server becomes one ALLOW policy:
 * no call that Linkerd denies at a Server is allowed by what comes out. Names of ports are looked up in the workloads among the documents.
 *
 * @throws IdentityError `invalid_argument` for fields that Linkerd does not have
 */
export function importLinkerd(documents: readonly object[], options: LinkerdOptions = {}): Imported {
  const report = new LossReport();
  const resources = documents.map(foreignResource).filter((each) => each !== undefined);
  const own = resources.filter(({ apiVersion }) => apiVersion.startsWith('policy.linkerd.io/'));
  const authentications = new Authentications(own, report, options);
  const routes = new PolicyRoutes(resources, report);
  const ports = new NamedPorts(resources);
  const servers = own.filter(({ kind }) => kind === 'Server').map((resource) => serverOf(resource, report));
  const grants = new Map<Server, Grant[]>(servers.map((server) => [server, grantsOfAll(server)]));
  for (const resource of own) {
    const lose = report.of(titleOf(resource));
    if (resource.kind === 'AuthorizationPolicy') {
      const { targetRef, requiredAuthenticationRefs } = readSpec(policySpec, resource);
      const from = authentications.allOf(requiredAuthenticationRefs, resource.namespace, lose);
      const found = targetsOf(targetRef, resource.namespace, { servers, routes, lose });
      if (from === undefined) continue;
      if (found.length === 0) lose('spec.targetRef', 'not carried over', 'nothing that it could be about is among the documents');
      for (const { server, to } of found) grants.get(server)?.push({ from, to });
    } else if (resource.kind === 'ServerAuthorization') {
      const { server: selected, client } = readSpec(serverAuthorizationSpec, resource);
      const from = authentications.ofClient(client, resource.namespace, lose);
      if (selected.name === undefined && (selected.selector?.matchExpressions ?? []).length > 0)
        lose('spec.server.selector.matchExpressions', 'rule dropped', 'Servers are told by names and labels');
      const found = servers.filter((server) => isSelected(server, selected, resource.namespace));
      if (from !== undefined) for (const server of found) grants.get(server)?.push({ from, to: undefined });
    } else if (!KNOWN.has(resource.kind)) lose('kind', 'not carried over', 'not one of the kinds that are translated');
  }
  const policies = [...grants].flatMap(([server, granted]) => policyOf(server, ofItsRoutes(server, granted, routes), ports));
  return { resources: fitted(policies), losses: report.losses };
}

const KNOWN = new Set(['Server', 'HTTPRoute', 'MeshTLSAuthentication', 'NetworkAuthentication']);

function serverOf(resource: ForeignResource, report: LossReport): Server {
  return { resource, spec: readSpec(serverSpec, resource), lose: report.of(titleOf(resource)) };
}

const accessPolicies = literal('deny', 'audit', 'all-unauthenticated', 'all-authenticated', 'all-tls-unauthenticated');

/** What a Server lets in without any policy. */
function grantsOfAll({ resource, spec, lose }: Server): Grant[] {
  if (spec.accessPolicy.startsWith('cluster-')) {
    lose('spec.accessPolicy', 'allows less', 'which networks are the cluster’s is not known: write them as ipBlocks');
    return [];
  }
  const policy = readSpec(accessPolicies, { ...resource, spec: spec.accessPolicy });
  if (policy === 'all-tls-unauthenticated') lose('spec.accessPolicy', 'allows less', 'TLS without an identity is not told apart');
  if (policy === 'all-authenticated' || policy === 'all-tls-unauthenticated')
    return [{ from: [{ spiffeIDs: ANY_ID }], to: undefined }];
  return policy === 'all-unauthenticated' ? [{ from: [{}], to: undefined }] : [];
}

interface Surroundings {
  readonly servers: readonly Server[];
  readonly routes: PolicyRoutes;
  readonly lose: Lose;
}

function targetsOf(
  { group, kind, name, namespace: named }: Decoded<typeof reference>,
  namespace: string,
  { servers, routes, lose }: Surroundings,
): readonly { readonly server: Server; readonly to: readonly object[] | undefined }[] {
  if (named !== undefined && named !== namespace) {
    lose('spec.targetRef.namespace', 'rule dropped', 'a policy is about its own namespace');
    return [];
  }
  const own = servers.filter((each) => each.resource.namespace === namespace);
  if (kind === 'Server') return own.filter((each) => each.resource.name === name).map((server) => ({ server, to: undefined }));
  if (kind === 'Namespace' && group === '') return name === namespace ? own.map((server) => ({ server, to: undefined })) : [];
  const route = routes.get(group, kind, namespace, name);
  const parents = own.filter((each) => route?.servers.has(each.resource.name));
  return parents.flatMap((server) => {
    const all = routesAt(server, routes);
    if (route === undefined || !all.includes(route)) {
      lose('spec.targetRef', 'rule dropped', `a Server of ${server.spec.proxyProtocol} has no routes of this kind`);
      return [];
    }
    const to = operationsOf(route, all, lose);
    return to.length === 0 ? [] : [{ server, to }];
  });
}

function routesAt({ resource, spec }: Server, routes: PolicyRoutes): readonly PolicyRoute[] {
  return routes.at({ namespace: resource.namespace, name: resource.name, proxyProtocol: spec.proxyProtocol });
}

/** Requests that no route of a Server is about are refused, if it has any, whoever calls. */
function ofItsRoutes(server: Server, granted: readonly Grant[], routes: PolicyRoutes): readonly Grant[] {
  const all = routesAt(server, routes);
  if (all.length === 0) return granted.map((each) => ({ ...each, to: each.to ?? [{}] }));
  if (server.spec.proxyProtocol === 'unknown' && granted.some((each) => each.to === undefined))
    server.lose('spec.proxyProtocol', 'allows less', 'it has routes: connections that are no requests are denied');
  return granted.map((each) => ({ ...each, to: each.to ?? operationsOfAll(all) })).filter((each) => each.to.length > 0);
}

function isSelected(
  { resource }: Server,
  { name, selector }: Decoded<typeof serverAuthorizationSpec>['server'],
  namespace: string,
): boolean {
  if (resource.namespace !== namespace) return false;
  if (name !== undefined) return resource.name === name;
  if (selector === undefined || selector.matchExpressions.length > 0) return false;
  return Object.entries(selector.matchLabels).every(([key, value]) => resource.labels[key] === value);
}

const portNumber = integer({ min: 1, max: 65_535 });

function policyOf({ resource, spec, lose }: Server, granted: readonly Grant[], ports: NamedPorts): readonly DraftedPolicy[] {
  const { name, namespace } = resource;
  if (spec.podSelector === undefined) {
    lose(
      'spec.externalWorkloadSelector',
      'not carried over',
      'workloads outside of Kubernetes: write a ClusterAuthorizationPolicy',
    );
    return [];
  }
  const { matchLabels, matchExpressions } = spec.podSelector;
  const numbers =
    typeof spec.port === 'number'
      ? [readSpec(portNumber, { ...resource, spec: spec.port })]
      : ports.find(namespace, matchLabels, String(spec.port));
  const why = 'calls to other ports of these pods are denied too, and probes of the kubelet, until a policy of yours allows them';
  lose('spec.port', 'denies more', why);
  if (numbers.length === 0)
    lose('spec.port', 'rule dropped', `no container port is called "${String(spec.port)}" in the documents`);
  const policy = {
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace },
    spec: {
      ...selected({ matchLabels, matchExpressions }),
      ...(spec.accessPolicy === 'audit' ? { mode: 'DryRun' } : {}),
      action: 'ALLOW',
      rules: numbers.length === 0 ? [] : granted.map(({ from, to = [] }) => ruleOf(from, to, numbers.map(String))),
    },
  };
  return [{ title: titleOf(resource), resource: policy, lose }];
}

function selected({ matchLabels, matchExpressions }: { matchLabels: object; matchExpressions: readonly unknown[] }): object {
  const parts = {
    ...(Object.keys(matchLabels).length === 0 ? {} : { matchLabels }),
    ...(matchExpressions.length === 0 ? {} : { matchExpressions }),
  };
  return Object.keys(parts).length === 0 ? {} : { selector: parts };
}

function ruleOf(from: SourceClauses, to: readonly object[], ports: readonly string[]): RuleDraft {
  const isAnybody = from.some((clause) => Object.keys(clause).length === 0);
  return { ...(isAnybody ? {} : { from }), to: to.map((clause) => ({ ...clause, ports })) };
}
