import { array, object, optional, string } from '../../core/decode.ts';
import type { Decoded } from '../../core/decode.ts';
import { readSpec, titleOf } from './foreign.ts';
import type { ForeignResource, Lose, LossReport } from './foreign.ts';
import { ANY_ID } from './istio-values.ts';

/** Alternatives of `from`; one without fields is anybody. */
export type SourceClauses = readonly Readonly<Record<string, unknown>>[];

const texts = optional(array(string()), []);
const identityRef = object({
  group: optional(string({ allowEmpty: true })),
  kind: string(),
  name: string(),
  namespace: optional(string()),
});
const meshTlsSpec = object({ identities: texts, identityRefs: optional(array(identityRef), []) });
const networkSpec = object({ networks: array(object({ cidr: string(), except: texts })) });
const clientTls = optional(
  object({
    unauthenticatedTLS: optional({ read: (input) => input === true }, false),
    identities: texts,
    serviceAccounts: optional(array(object({ name: string(), namespace: optional(string()) })), []),
  }),
);

interface Reference {
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string | undefined;
}

/** What the documents do not say. */
export interface LinkerdOptions {
  /** `CONTROL-PLANE.TRUST-DOMAIN` at the end of the identities of this mesh; `linkerd.cluster.local` by default. */
  readonly identityDomain?: string;
  /** Linkerd's `clusterNetworks`: clients of a ServerAuthorization that names no networks come from there. None: nobody does. */
  readonly clusterNetworks?: readonly string[];
}

/** Names of identities: `ACCOUNT.NAMESPACE.serviceaccount.identity.CONTROL-PLANE.TRUST-DOMAIN`. */
const IDENTITY = /^([a-z0-9-]+|\*)\.([a-z0-9-]+)\.serviceaccount\.identity\.([a-z0-9-]+\.[a-z0-9.-]+)$/;

/** What the documents say of clients: MeshTLSAuthentication and NetworkAuthentication. */
export class Authentications {
  readonly #clauses = new Map<string, SourceClauses>();
  readonly #identityDomain: string;
  readonly #clusterNetworks: readonly string[];

  constructor(
    resources: readonly ForeignResource[],
    report: LossReport,
    { identityDomain = 'linkerd.cluster.local', clusterNetworks = [] }: LinkerdOptions,
  ) {
    this.#identityDomain = identityDomain;
    this.#clusterNetworks = clusterNetworks;
    for (const resource of resources) {
      const lose = report.of(titleOf(resource));
      const clauses = clausesOf(resource, identityDomain, lose);
      if (clauses !== undefined) this.#clauses.set(keyOf(resource), clauses);
    }
  }

  /** Whom all of the references let in; undefined where that cannot be said, and nobody is let in. */
  allOf(references: readonly Reference[], namespace: string, lose: Lose): SourceClauses | undefined {
    let all: SourceClauses = [{}];
    const kinds = new Set<string>();
    for (const [index, reference] of references.entries()) {
      const field = `spec.requiredAuthenticationRefs[${index}]`;
      const kind = reference.kind === 'NetworkAuthentication' ? 'networks' : 'identities';
      if (kinds.has(kind)) {
        lose(field, 'rule dropped', 'Linkerd refuses more than one of its kind');
        return undefined;
      }
      kinds.add(kind);
      const clauses = this.#find(reference, namespace);
      if (clauses === undefined) lose(field, 'rule dropped', 'it is not among the documents');
      if (clauses === undefined) return undefined;
      all = intersection(all, clauses);
    }
    return all;
  }

  /** Whom the `client` of a ServerAuthorization lets in. */
  ofClient(
    {
      unauthenticated,
      networks,
      meshTLS,
    }: { unauthenticated: boolean; networks?: readonly unknown[] | undefined; meshTLS: unknown },
    namespace: string,
    lose: Lose,
  ): SourceClauses | undefined {
    const place = { apiVersion: '', kind: 'ServerAuthorization', name: '', namespace, labels: {} };
    const named = networks ?? [];
    const spec = { networks: named.length > 0 ? named : this.#clusterNetworks.map((cidr) => ({ cidr })) };
    const addresses = networkClauses(readSpec(networkSpec, { ...place, spec }));
    if (addresses.length === 0)
      lose('spec.client.networks', 'rule dropped', 'it means the networks of the cluster: name them (--cluster-network)');
    if (addresses.length === 0) return undefined;
    if (unauthenticated) return addresses;
    const tls = readSpec(clientTls, { ...place, spec: meshTLS });
    if (tls === undefined) lose('spec.client', 'rule dropped', 'it names no clients');
    if (tls === undefined) return undefined;
    if (tls.unauthenticatedTLS) {
      lose('spec.client.meshTLS.unauthenticatedTLS', 'rule dropped', 'TLS without an identity is not told apart');
      return undefined;
    }
    const accounts = tls.serviceAccounts.map((each) => `${each.namespace ?? namespace}/${each.name}`);
    const known = accounts.length === 0 ? [] : [{ serviceAccounts: accounts }];
    const clients = [...known, ...identityClauses(tls.identities, this.#identityDomain, lose)];
    return clients.length === 0 ? undefined : intersection(clients, addresses);
  }

  #find({ kind, name, namespace }: Reference, own: string): SourceClauses | undefined {
    const place = namespace ?? own;
    if (kind === 'ServiceAccount') return [{ serviceAccounts: [`${place}/${name}`] }];
    return this.#clauses.get(keyOf({ kind, namespace: place, name }));
  }
}

function keyOf({ kind, namespace, name }: Pick<ForeignResource, 'kind' | 'namespace' | 'name'>): string {
  return `${kind}/${namespace}/${name}`;
}

function clausesOf(resource: ForeignResource, identityDomain: string, lose: Lose): SourceClauses | undefined {
  if (resource.kind === 'NetworkAuthentication') return networkClauses(readSpec(networkSpec, resource));
  if (resource.kind !== 'MeshTLSAuthentication') return undefined;
  const { identities, identityRefs } = readSpec(meshTlsSpec, resource);
  const other = identityRefs.find((each) => each.kind !== 'ServiceAccount' && each.kind !== 'Namespace');
  if (other !== undefined) {
    lose('spec.identityRefs', 'not carried over', `Linkerd refuses a reference to a ${other.kind}`);
    return undefined;
  }
  const named = identityRefs.map((reference) => refClause(reference, resource.namespace));
  return [...identityClauses(identities, identityDomain, lose), ...named];
}

function refClause({ kind, name, namespace }: Decoded<typeof identityRef>, own: string): SourceClauses[number] {
  return kind === 'ServiceAccount' ? { serviceAccounts: [`${namespace ?? own}/${name}`] } : { namespaces: [name] };
}

function identityClauses(identities: readonly string[], identityDomain: string, lose: Lose): SourceClauses {
  const found = { spiffeIDs: new Set<string>(), serviceAccounts: new Set<string>(), namespaces: new Set<string>() };
  for (const identity of identities) {
    const [, account = '', namespace = '', domain = identityDomain] = IDENTITY.exec(identity) ?? [];
    if (identity === '*') for (const pattern of ANY_ID) found.spiffeIDs.add(pattern);
    else if (/^spiffe:\/\/[^*]+$/.test(identity)) found.spiffeIDs.add(identity);
    else if (domain !== identityDomain)
      lose('spec.identities', 'value dropped', `"${identity}" is of another mesh than ${identityDomain} (--identity-domain)`);
    else if (account === '*') found.namespaces.add(namespace);
    else if (account !== '') found.serviceAccounts.add(`${namespace}/${account}`);
    else lose('spec.identities', 'value dropped', `"${identity}" names neither a service account nor a namespace`);
  }
  return Object.entries(found).flatMap(([field, values]) => (values.size === 0 ? [] : [{ [field]: [...values] }]));
}

function networkClauses({ networks }: Decoded<typeof networkSpec>): SourceClauses {
  return networks.map(({ cidr, except }) => ({
    ipBlocks: [cidr],
    ...(except.length === 0 ? {} : { not: { ipBlocks: except } }),
  }));
}

/** Clauses that hold where one of each list does: one list is about addresses, the other one is not. */
function intersection(one: SourceClauses, other: SourceClauses): SourceClauses {
  return one.flatMap((left) => other.map((right) => ({ ...left, ...right })));
}
