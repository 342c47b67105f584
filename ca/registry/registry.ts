import type { Source } from '../../core/current.ts';
import type { Clock } from '../../core/clock.ts';
import type { Bundle, BundleSource } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Agent, Authority, AuthorityKind, Entry, FederationRelationship } from '../model.ts';
import type { Change, Store } from '../store/store.ts';
import type { AgentFilter, EntryFilter } from './filters.ts';
import type { Page, PageRequest } from './page.ts';

/** A kind of resource as the registry knows it. */
export interface Collection<K, T, F> {
  get(key: K): T | undefined;
  /** In order of creation. */
  list(filter?: F, page?: PageRequest): Page<T>;
  count(filter?: F): number;
}

/** Where an agent's watch goes on. */
export interface Resume {
  readonly feedId: string;
  readonly revision: number;
}

/** What an agent has to change to be at `revision`. */
export interface AgentDelta {
  /** The agent is at this revision when it has applied this delta. */
  readonly revision: number;
  /** What this delta does not put, the agent must forget. */
  readonly snapshot: boolean;
  readonly put: readonly { readonly entry: Entry; readonly revision: number }[];
  /** IDs of entries that are gone or no longer the agent's; may hold IDs that the agent never had. */
  readonly removed: readonly string[];
  /** The own bundle when it changed, and federated ones that the agent's entries federate with. */
  readonly bundles: readonly { readonly bundle: Bundle; readonly revision: number }[];
  /** Names of trust domains whose bundle the agent must forget; may hold names that it never had. */
  readonly removedBundles: readonly string[];
}

/**
 * One agent's view of the registry, as deltas. What the reader had no time for is merged into the next delta: nothing queues.
 * Iterate it once; `return()`, or the signal, ends it.
 */
export interface AgentWatch extends AsyncIterable<AgentDelta> {
  /** Called when the agent's own record changed (banned, evicted, renewed), before any delta of that revision is handed out. */
  onAgentChange(listener: () => void): void;
}

/** What a {@link Registry} is made of. */
export interface RegistryOptions {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly feedId: string;
  /** Refresh hint of the own bundle, in seconds. */
  readonly refreshHintSeconds?: number;
}

/**
 * All registration state in memory, fed by the store's changes. Every read of the CA comes from here, so that the store may
 * be down. After a mutation, wait for its revision: `await registry.waitFor(revision)`.
 */
export interface Registry extends BundleSource {
  readonly feedId: string;
  /** The revision up to which all changes are applied. */
  readonly revision: number;
  /** @throws the signal's reason; IdentityError `unavailable` when the registry does not get there within `timeoutMs` (5 s) */
  waitFor(revision: number, options?: { readonly signal?: AbortSignal; readonly timeoutMs?: number }): Promise<void>;

  /** By entry ID. */
  readonly entries: Collection<string, Entry, EntryFilter>;
  readonly agents: Collection<SpiffeId, Agent, AgentFilter>;
  readonly relationships: Collection<TrustDomain, FederationRelationship, undefined>;
  /** Bundles of other trust domains. */
  readonly federatedBundles: Collection<TrustDomain, Bundle, undefined>;
  readonly authorities: readonly Authority[];
  authority(kind: AuthorityKind, id: string): Authority | undefined;
  /** The own trust domain's bundle, of the authorities of all replicas; its sequence number is the revision of their last change. */
  readonly bundle: Source<Bundle>;
  /** The own bundle or a federated one. */
  bundleOf(trustDomain: TrustDomain): Bundle | undefined;
  /** Calls the listener after changes of relationships or federated bundles were applied. Returns what ends it. */
  onFederationChange(listener: () => void): () => void;

  /** The entries that an agent may have SVIDs for: its children, those of the node aliases it belongs to, and their descendants. */
  authorizedEntries(agentId: SpiffeId): readonly Entry[];
  /** One of {@link authorizedEntries}, without listing them; undefined when it does not exist or is not the agent's. */
  authorizedEntry(agentId: SpiffeId, entryId: string): Entry | undefined;
  watchAgent(agentId: SpiffeId, options: { readonly resume?: Resume; readonly signal: AbortSignal }): AgentWatch;
}

/** What the feed writes into. */
export interface RegistryWrites {
  /** Applies changes in order of revision; the registry is at `revision` afterwards. */
  apply(changes: readonly Change[], revision: number): void;
}

/** A registry that follows a store until it is disposed of. `start` resolves when everything has been loaded. */
export interface RegistryFeed extends AsyncDisposable {
  readonly registry: Registry;
  /** Why the registry may be behind; undefined while it follows the store. For the health report. */
  readonly outage: Error | undefined;
}

/** Loads the registry from the store, then follows it: pushes every replica's changes into it and prunes what expired. */
export type StartRegistry = (options: {
  readonly store: Store;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly refreshHintSeconds?: number;
}) => Promise<RegistryFeed>;
