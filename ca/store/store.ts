import type { CallStore } from '../calls/call-store.ts';
import type {
  Agent,
  AgentChange,
  AgentProgress,
  Authority,
  AuthorityKind,
  Entry,
  EntryChange,
  FederationRelationship,
  NewEntry,
  PolicyResource,
} from '../model.ts';
import type { ResourceKind, Resources } from '../model.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';

/** One resource's latest state, or its end. */
export type Change = { readonly [K in ResourceKind]: ChangeOf<K> }[ResourceKind];

/** A {@link Change} of one kind. */
export interface ChangeOf<K extends ResourceKind> {
  readonly kind: K;
  /**
   * Unique within its kind: entry ID, agent's SPIFFE ID (also of its progress), `<kind>/<id>` of an authority, trust domain name,
   * `<kind>/<namespace>/<name>` of a policy resource.
   */
  readonly name: string;
  /** The revision of the store that made this state. */
  readonly revision: number;
  /** Order of creation among the resources of the store; stays through updates. */
  readonly position: number;
  /** Undefined: deleted. */
  readonly value: Resources[K] | undefined;
  /** What was deleted; or, beside a `value`, undefined. */
  readonly former: Resources[K] | undefined;
  /** Set on a record of how an entry looked before an update that moved it; not a deletion. */
  readonly superseded: boolean;
}

/** What `readSince` may be asked for. */
export interface ReadOptions {
  /** Also what was deleted since, as far back as {@link Store.prunedRevision}; else, from revision 0, only what exists. */
  readonly deleted?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Where registration state lives: one table that is its own change feed. A revision is one committed transaction: revisions
 * have no gaps, and once a reader has seen revision N, nothing below N can appear any more.
 *
 * Every method throws IdentityError `unavailable` when the store cannot be reached or written; nothing is then half done.
 */
export interface Store extends AsyncDisposable {
  /** Names this history. Another store, or the same one emptied, has another. */
  readonly feedId: string;
  /**
   * Runs one transaction. Durable when it resolves, without trace when it rejects. Transactions of all replicas run one
   * after the other: do nothing slow inside, and do not ask the store for anything else, which would wait for the end of this.
   *
   * @returns the work's value and the revision that holds its writes (the present one when it wrote nothing)
   * @example
   * const { value, revision } = await store.mutate((tx) => tx.createEntry(entry));
   * await registry.waitFor(revision); // read your writes
   */
  mutate<T>(work: (tx: Mutation) => Promise<T>): Promise<{ readonly value: T; readonly revision: number }>;
  /** The revision of the last committed transaction. */
  headRevision(): Promise<number>;
  /** Deletions up to this revision are forgotten: a reader that stopped before it must start from 0. */
  prunedRevision(): Promise<number>;
  /** Changes after a revision in batches, in order of revision; a revision never spans two batches' ends unnoticed: read to the end. From 0: everything. */
  readSince(revision: number, options?: ReadOptions): AsyncIterable<readonly Change[]>;
  /**
   * Calls `onHead` with the present head, and soon after each commit of any replica with the new one; may repeat one.
   * Reconnects by itself. Resolves when the signal aborts.
   *
   * @param onOutage told when the feed was lost (with the reason) and when it is back (without)
   */
  follow(onHead: (revision: number) => void, signal: AbortSignal, onOutage?: (error: Error | undefined) => void): Promise<void>;
  /** Calls that agents reported; beside the feed, which never tells of them. */
  readonly calls: CallStore;
  /** Forgets deletions that are older than `keepMs` and further back than `keepRevisions`, and expired join tokens. */
  prune(options: { readonly keepMs: number; readonly keepRevisions: number }): Promise<void>;
}

/** Names a policy resource. */
export type PolicyKey = Pick<PolicyResource, 'kind' | 'namespace' | 'name'>;

/** What {@link Mutation.createEntry} did: made the entry, or found one of the same SPIFFE ID, parent and selectors. */
export interface CreatedEntry {
  readonly kind: 'created' | 'exists';
  readonly entry: Entry;
}

/** The operations within one transaction. All reads see the transaction's own writes. */
export interface Mutation {
  /**
   * @throws IdentityError `already_exists` when the asked-for entry ID is taken by another entry; `failed_precondition` when a
   *   federated trust domain has no bundle
   */
  createEntry(entry: NewEntry): Promise<CreatedEntry>;
  /** The same for many, in few round trips; results in order. One failure does not stop the others. */
  createEntries(entries: readonly NewEntry[]): Promise<readonly (CreatedEntry | Error)[]>;
  getEntry(id: string): Promise<Entry | undefined>;
  /** Many in one round trip, in order; updating or deleting them afterwards costs no other. */
  getEntries(ids: readonly string[]): Promise<readonly (Entry | undefined)[]>;
  /**
   * Counts the entry's revision number up. As in SPIRE, it may become like another entry in SPIFFE ID, parent and selectors.
   *
   * @throws IdentityError `not_found`, `failed_precondition` (a federated trust domain without a bundle)
   */
  updateEntry(id: string, change: EntryChange): Promise<Entry>;
  /** @throws IdentityError `not_found` */
  deleteEntry(id: string): Promise<Entry>;

  getAgent(id: SpiffeId): Promise<Agent | undefined>;
  /** Creates the agent or replaces it (re-attestation). */
  putAgent(agent: Agent): Promise<Agent>;
  /** @throws IdentityError `not_found` */
  updateAgent(id: SpiffeId, change: AgentChange): Promise<Agent>;
  /** @throws IdentityError `not_found` */
  deleteAgent(id: SpiffeId): Promise<Agent>;

  /** @throws IdentityError `already_exists` */
  createJoinToken(token: string, expiresAtSeconds: number): Promise<void>;
  /**
   * Uses the token up. Of any number of attempts exactly one succeeds, once the transaction has committed.
   *
   * @throws IdentityError `not_found` (never existed or used); `failed_precondition` (expired: note that the throw, unless
   *   caught, rolls back the removal, which is harmless)
   */
  redeemJoinToken(token: string): Promise<void>;

  getAuthority(kind: AuthorityKind, id: string): Promise<Authority | undefined>;
  putAuthority(authority: Authority): Promise<void>;
  /** @throws IdentityError `not_found` */
  deleteAuthority(kind: AuthorityKind, id: string): Promise<Authority>;

  getBundle(trustDomain: TrustDomain): Promise<Bundle | undefined>;
  /** @throws IdentityError `already_exists` */
  createBundle(bundle: Bundle): Promise<void>;
  putBundle(bundle: Bundle): Promise<void>;
  /**
   * `restrict` refuses with `failed_precondition` while entries federate with the trust domain, `dissociate` removes it from
   * those entries, `delete` deletes those entries.
   *
   * @throws IdentityError `not_found`, `failed_precondition`
   */
  deleteBundle(trustDomain: TrustDomain, mode: 'restrict' | 'dissociate' | 'delete'): Promise<void>;

  getRelationship(trustDomain: TrustDomain): Promise<FederationRelationship | undefined>;
  /** @throws IdentityError `already_exists` */
  createRelationship(relationship: FederationRelationship): Promise<void>;
  /** @throws IdentityError `not_found` */
  updateRelationship(
    trustDomain: TrustDomain,
    change: Partial<Omit<FederationRelationship, 'trustDomain'>>,
  ): Promise<FederationRelationship>;
  /** @throws IdentityError `not_found` */
  deleteRelationship(trustDomain: TrustDomain): Promise<void>;

  getPolicy(key: PolicyKey): Promise<PolicyResource | undefined>;
  /** Many in few round trips, in order; replacing or deleting them afterwards costs no other. */
  getPolicies(keys: readonly PolicyKey[]): Promise<readonly (PolicyResource | undefined)[]>;
  /** Creates or replaces many in few round trips. One that is there as it is costs nothing, and is not written. */
  putPolicies(policies: readonly PolicyResource[]): Promise<void>;
  /** Deletes those of them that are there. */
  deletePolicies(keys: readonly PolicyKey[]): Promise<void>;

  /** Says how far agents are; of one that is not there (any more), nothing. */
  putProgress(progress: readonly AgentProgress[]): Promise<void>;
}
