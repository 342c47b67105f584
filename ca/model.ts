import type { Bundle } from '../spiffe/bundle.ts';
import type { SpiffeId } from '../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import type { WorkloadMetadata } from '../policy/workload-metadata.ts';

/** A property that an attestor found, such as type `unix`, value `uid:1000`. Written `unix:uid:1000`. */
export interface Selector {
  readonly type: string;
  readonly value: string;
}

/** Any JSON value. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [name: string]: JsonValue };

/** Claims of JWT-SVIDs by name; never a registered one. */
export type JwtClaims = { readonly [name: string]: JsonValue };

/** A registration: which workload (by selectors) on which node (by parent) gets which SPIFFE ID. SPIRE's `types.Entry`. */
export interface Entry {
  /** Letters, digits, `-`, `.`, `_`; at most 255. */
  readonly id: string;
  readonly spiffeId: SpiffeId;
  /** An agent, a node alias, another entry's ID, or `/spire/server` for a node alias. */
  readonly parentId: SpiffeId;
  /** Sorted and without duplicates: see {@link normalizeSelectors}. */
  readonly selectors: readonly Selector[];
  /** 0: the CA's default. */
  readonly x509SvidTtlSeconds: number;
  /** 0: the CA's default. */
  readonly jwtSvidTtlSeconds: number;
  readonly federatesWith: readonly TrustDomain[];
  readonly admin: boolean;
  readonly downstream: boolean;
  /** Seconds since 1970; 0: never. An entry past it is pruned. */
  readonly expiresAtSeconds: number;
  readonly dnsNames: readonly string[];
  /** Counts the updates of this entry, from 0. Not the store's revision. */
  readonly revisionNumber: number;
  readonly storeSvid: boolean;
  readonly hint: string;
  readonly createdAtSeconds: number;
  readonly disableX509SvidPrefetch: boolean;
  readonly jwtSvidIncludeJti: boolean;
  /** What each JWT-SVID carries besides the registered claims. */
  readonly jwtClaims?: JwtClaims | undefined;
  /** What the workload is in Kubernetes, as whoever registered it says. */
  readonly workload?: WorkloadMetadata | undefined;
}

/** An entry to be made: the store gives it an ID (unless one is asked for), a creation time and revision number 0. */
export type NewEntry = Omit<Entry, 'id' | 'revisionNumber' | 'createdAtSeconds'> & { readonly id?: string };

/** The fields of an entry that an update may set; absent ones stay. */
export type EntryChange = Partial<Omit<Entry, 'id' | 'revisionNumber' | 'createdAtSeconds'>>;

/** An attested node agent. SPIRE's `types.Agent` with what renewal needs. */
export interface Agent {
  readonly id: SpiffeId;
  /** Such as `join_token` or `x509pop`. */
  readonly attestationType: string;
  /** Of the SVID in force, a decimal number as SPIRE writes it; empty when banned. */
  readonly serialNumber: string;
  readonly expiresAtMs: number;
  /** Of a renewed SVID that the agent has not used yet; empty when there is none. It becomes `serialNumber` on first use. */
  readonly nextSerialNumber: string;
  readonly nextExpiresAtMs: number;
  /** Sorted and without duplicates. */
  readonly selectors: readonly Selector[];
  readonly canReattest: boolean;
  readonly banned: boolean;
  readonly agentVersion: string;
}

/** The fields of an agent that an update may set; absent ones stay. */
export type AgentChange = Partial<Omit<Agent, 'id'>>;

/** What an authority's key signs. `exchange`: tokens of the token exchange; its key is published beside the bundle, never in it. */
export type AuthorityKind = 'x509' | 'jwt' | 'wit' | 'exchange';

/** A public key of the own trust domain, published by one of the replicas or by a downstream CA. */
export interface Authority {
  readonly kind: AuthorityKind;
  /** Subject key ID in hexadecimal (X.509) or `kid`. */
  readonly id: string;
  /** The certificate (X.509) or the SubjectPublicKeyInfo, DER. */
  readonly publicBytes: Uint8Array;
  /** Seconds since 1970; 0: unknown. A replica drops authorities that expired. */
  readonly expiresAtSeconds: number;
  readonly tainted: boolean;
  /** The replica that signs with it; empty when no replica of ours does (appended by an admin or a downstream CA). */
  readonly replicaId: string;
  /** Subject key ID of the upstream root in hexadecimal; empty without an upstream. */
  readonly upstreamSubjectKeyId: string;
}

/** How a federated bundle endpoint proves itself (SPIFFE Federation §5.2). */
export type BundleEndpointProfile =
  | { readonly kind: 'https_web' }
  | { readonly kind: 'https_spiffe'; readonly endpointSpiffeId: SpiffeId };

/** Where the bundle of another trust domain is polled. */
export interface FederationRelationship {
  readonly trustDomain: TrustDomain;
  readonly bundleEndpointUrl: string;
  readonly profile: BundleEndpointProfile;
}

/** The kinds of resources that say who may call whom. */
export const POLICY_RESOURCE_KINDS = ['AuthorizationPolicy', 'ClusterAuthorizationPolicy', 'RequestAuthentication'] as const;

/** One of {@link POLICY_RESOURCE_KINDS}. */
export type PolicyResourceKind = (typeof POLICY_RESOURCE_KINDS)[number];

/** A resource that says who may call whom, as it goes to the agents: `policy/wire-policy.ts` writes and reads the document. */
export interface PolicyResource {
  readonly kind: PolicyResourceKind;
  /** Empty for a ClusterAuthorizationPolicy. */
  readonly namespace: string;
  readonly name: string;
  /** `metadata.generation` of the resource. */
  readonly generation: number;
  readonly document: string;
}

/** How far an agent is with enforcing policy. */
export interface AgentProgress {
  readonly agentId: SpiffeId;
  /** What the agent acknowledged: all up to this revision of the store is in force there, but what it refused. */
  readonly revision: number;
  /** Policies that it could not put in force: their keys with the revision that it refused. */
  readonly refused: Readonly<Record<string, number>>;
  /** Why, in its own words, for a few of them. */
  readonly reasons?: Readonly<Record<string, string>>;
}

/** What each kind of resource is in the store. `bundle` is a federated one: the own bundle is composed from authorities. */
export interface Resources {
  readonly entry: Entry;
  readonly agent: Agent;
  readonly authority: Authority;
  readonly bundle: Bundle;
  readonly relationship: FederationRelationship;
  readonly policy: PolicyResource;
  readonly progress: AgentProgress;
}

/** The kinds of resources. */
export type ResourceKind = keyof Resources;

/** The path of the ID that is the parent of node aliases: entries that name a set of agents by their selectors. */
export const SERVER_ID_PATH = '/spire/server';

/** Whether the entry names a set of agents instead of a workload. */
export function isNodeAlias(entry: Pick<Entry, 'parentId'>): boolean {
  return entry.parentId.path === SERVER_ID_PATH;
}

/** The name of a policy resource within its kind of store: `AuthorizationPolicy/shop/orders`, `ClusterAuthorizationPolicy//baseline`. */
export function policyResourceKey({ kind, namespace, name }: Pick<PolicyResource, 'kind' | 'namespace' | 'name'>): string {
  return `${kind}/${namespace}/${name}`;
}

/** A selector as text, such as `unix:uid:1000`; equal texts are equal selectors, because a type has no colon. */
export function selectorText(selector: Selector): string {
  return `${selector.type}:${selector.value}`;
}

/** The selectors in order of their text, each once. */
export function normalizeSelectors(selectors: readonly Selector[]): readonly Selector[] {
  const byText = new Map(selectors.map((selector) => [selectorText(selector), selector]));
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, selector]) => selector);
}
