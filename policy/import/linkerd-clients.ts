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

/** Names of identities: `ACCOUNT.NAMESPACE.serviceaccount.identity.CONTROL-PLANE.TRUST-DOMAIN`. */
const IDENTITY = /^([a-z0-9-]+|\*)\.([a-z0-9-]+)\.serviceaccount\.identity\.[a-z0-9-]+\.[a-z0-9.-]+$/;

/** What the documents say of clients: MeshTLSAuthentication and NetworkAuthentication. */
export class Authentications {
  readonly #clauses = new Map<string, SourceClauses>();

  constructor(resources: readonly ForeignResource[], report: LossReport) {
    for (const resource of resources) {
      const lose = report.of(titleOf(resource));
      const clauses = clausesOf(resource, lose);
      if (clauses !== undefined) this.#clauses.set(keyOf(resource), clauses);
    }
  }

  /** Whom all of the references let in; undefined where that cannot be said, and nobody is let in. */
  allOf(references: readonly Reference[], namespace: string, lose: Lose): SourceClauses | undefined {
    let all: SourceClauses = [{}];
    for (const [index, reference] of references.entries()) {
      const field = `spec.requiredAuthenticationRefs[${index}]`;
      const clauses = this.#find(reference, namespace);
      if (clauses === undefined) lose(field, 'rule dropped', 'it is not among the documents');
      const both = clauses === undefined ? undefined : intersection(all, clauses);
      if (clauses !== undefined && both === undefined) lose(field, 'rule dropped', 'a clause has each field once only');
      if (both === undefined) return undefined;
      all = both;
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
    const addresses = networks === undefined ? [{}] : networkClauses(readSpec(networkSpec, { ...place, spec: { networks } }));
    if (unauthenticated) return addresses;
    const tls = readSpec(clientTls, { ...place, spec: meshTLS });
    if (tls === undefined) return undefined;
    if (tls.unauthenticatedTLS) {
      lose('spec.client.meshTLS.unauthenticatedTLS', 'rule dropped', 'TLS without an identity is not told apart');
      return undefined;
    }
    const accounts = tls.serviceAccounts.map((each) => `${each.namespace ?? namespace}/${each.name}`);
    const known = accounts.length === 0 ? [] : [{ serviceAccounts: accounts }];
    const clients = [...known, ...identityClauses(tls.identities, lose)];
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

function clausesOf(resource: ForeignResource, lose: Lose): SourceClauses | undefined {
  if (resource.kind === 'NetworkAuthentication') return networkClauses(readSpec(networkSpec, resource));
  if (resource.kind !== 'MeshTLSAuthentication') return undefined;
  const { identities, identityRefs } = readSpec(meshTlsSpec, resource);
  const named = identityRefs.flatMap((reference) => refClauses(reference, resource.namespace, lose));
  return [...identityClauses(identities, lose), ...named];
}

function refClauses({ kind, name, namespace }: Decoded<typeof identityRef>, own: string, lose: Lose): SourceClauses {
  if (kind === 'ServiceAccount') return [{ serviceAccounts: [`${namespace ?? own}/${name}`] }];
  if (kind === 'Namespace') return [{ namespaces: [name] }];
  lose('spec.identityRefs', 'value dropped', `nothing of ours stands for a ${kind}`);
  return [];
}

function identityClauses(identities: readonly string[], lose: Lose): SourceClauses {
  const found = { spiffeIDs: new Set<string>(), serviceAccounts: new Set<string>(), namespaces: new Set<string>() };
  for (const identity of identities) {
    const [, account = '', namespace = ''] = IDENTITY.exec(identity) ?? [];
    if (identity === '*') for (const pattern of ANY_ID) found.spiffeIDs.add(pattern);
    else if (/^spiffe:\/\/[^*]+$/.test(identity)) found.spiffeIDs.add(identity);
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

/** Clauses that hold where one of each list does; undefined where two of them have a field in common. */
function intersection(one: SourceClauses, other: SourceClauses): SourceClauses | undefined {
  const pairs = one.flatMap((left) => other.map((right) => [left, right] as const));
  if (pairs.some(([left, right]) => Object.keys(left).some((field) => Object.hasOwn(right, field)))) return undefined;
  return pairs.map(([left, right]) => ({ ...left, ...right }));
}
