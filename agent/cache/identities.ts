import type { Source } from '../../core/current.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import type { SelectorSet } from './selectors.ts';

/** A registration entry as the agent sees it. Objects are never changed: an entry that changes becomes a new object. */
export interface AgentEntry {
  readonly id: string;
  readonly spiffeId: SpiffeId;
  /** `type:value` texts, sorted; never empty. A workload that has all of them is given the identity. */
  readonly selectors: readonly string[];
  /** Names of the trust domains whose bundles go with the identity, sorted. */
  readonly federatesWith: readonly string[];
  readonly hint: string;
  readonly admin: boolean;
  readonly downstream: boolean;
  readonly dnsNames: readonly string[];
  /** 0 stands for the CA's default. */
  readonly x509SvidTtlSeconds: number;
  /** 0 stands for the CA's default. */
  readonly jwtSvidTtlSeconds: number;
  readonly revisionNumber: bigint;
  readonly createdAtSeconds: number;
  readonly disableX509SvidPrefetch: boolean;
  readonly jwtSvidIncludeJti: boolean;
  /** Differs where the custom claims of its JWT-SVIDs do; absent without any. */
  readonly jwtClaimsDigest?: string | undefined;
  /** What the registration says of the workload; see `metadataOf`. */
  readonly workload?: WorkloadMetadata | undefined;
}

/** One X509-SVID with its key, as a workload gets it. Never changed: a rotation makes a new object. */
export interface X509Identity {
  readonly entryId: string;
  readonly spiffeId: SpiffeId;
  /** Leaf first. */
  readonly certificatesDer: readonly Uint8Array[];
  readonly privateKeyPkcs8Der: Uint8Array;
  readonly expiresAtMs: number;
  readonly hint: string;
  readonly entry: AgentEntry;
}

/** Everything that callers with one set of selectors are entitled to, at one moment. Immutable: compare with `===`. */
export interface WorkloadIdentities {
  /**
   * Oldest entry first, the first being the default identity (Workload API §8); hints are unique: of several entries with one
   * hint the oldest keeps it and the others are left out, as in SPIRE. Expired SVIDs are never here.
   */
  readonly identities: readonly X509Identity[];
  /** The entries behind, in the same order; also those whose X509-SVID is not signed yet. */
  readonly entries: readonly AgentEntry[];
  /** Entries whose first X509-SVID is being signed right now: a first message waits for them. */
  readonly pending: number;
  /** Bundle of the agent's own trust domain. */
  readonly bundle: Bundle;
  /** Those that at least one of the entries federates with, by trust domain name. */
  readonly federatedBundles: ReadonlyMap<string, Bundle>;
}

/** The identities of callers that look alike, with their changes. Views are shared: do not dispose of them. */
export type IdentityView = Source<WorkloadIdentities>;

/** Where the APIs on the workload socket find identities. */
export interface IdentitySource {
  /** Whether entries and bundles have come from the CA at least once; until then every RPC answers UNAVAILABLE. */
  readonly ready: boolean;
  /** The shared view of all callers with these selectors; reading `value` and subscribing are cheap. */
  identitiesFor(selectors: SelectorSet): IdentityView;
}
