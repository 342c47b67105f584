import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import type { Bundle, BundleSource } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Agent, AgentProgress, Authority, AuthorityKind, Entry, FederationRelationship } from '../model.ts';
import type { Change, ChangeOf } from '../store/store.ts';
import { AgentScopes } from './agent-scopes.ts';
import type { AgentWatch, WatchOptions } from './agent-watch.ts';
import { Bundles } from './bundles.ts';
import { ChangeNote, hasMoved, isAlias, mayEndFederation } from './change-note.ts';
import { EntryCollection } from './entry-collection.ts';
import { EntryGraph } from './entry-graph.ts';
import { agentPredicate } from './filters.ts';
import type { AgentFilter, EntryFilter } from './filters.ts';
import { History } from './history.ts';
import { NamespacesBelow } from './namespaces-below.ts';
import { NamedCollection } from './named-collection.ts';
import type { Page, PageRequest } from './page.ts';
import { Policies, namespaceOfKey } from './policies.ts';
import { RevisionWaiters } from './revision-waiters.ts';
import { WatchHub } from './watch-hub.ts';
import { isBelow } from './watcher.ts';
import { Workloads } from './workloads.ts';

export type { AgentDelta, AgentWatch, Resume, RevisedBundle, RevisedEntry, WatchOptions } from './agent-watch.ts';

/** How many former entries are remembered for agents that resume. */
const HISTORY_CAPACITY = 50_000;

/** What it depends on how policies stand. */
const STANDING_KINDS: ReadonlySet<string> = new Set(['policy', 'progress', 'agent', 'entry']);

/** One kind of resource, by key and by filter, in order of creation. */
export interface Collection<K, T, F> {
  get(key: K): T | undefined;
  /** @throws IdentityError `invalid_argument` for a page token that no list gave */
  list(filter?: F, page?: PageRequest): Page<T>;
  count(filter?: F): number;
}

/** What a {@link Registry} is made of. */
export interface RegistryOptions {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  /** Of the store whose changes are applied. */
  readonly feedId: string;
  /** Refresh hint of the own bundle, in seconds. */
  readonly refreshHintSeconds?: number | undefined;
}

/**
 * All registration state in memory, fed by the store's changes. Every read of the CA comes from here, so that the store may
 * be down. After a mutation, wait for its revision.
 *
 * @example
 * const { value, revision } = await store.mutate((tx) => tx.deleteEntry(id));
 * await registry.waitFor(revision);
 */
export class Registry implements BundleSource {
  readonly feedId: string;
  readonly trustDomain: TrustDomain;
  /** By entry ID. */
  readonly entries: Collection<string, Entry, EntryFilter>;
  readonly agents: Collection<SpiffeId, Agent, AgentFilter>;
  readonly relationships: Collection<TrustDomain, FederationRelationship, undefined>;
  /** Bundles of other trust domains. */
  readonly federatedBundles: Collection<TrustDomain, Bundle, undefined>;
  /** Resources that say who may call whom. */
  readonly policies = new Policies();
  /** What the registrations say of the workload behind each SPIFFE ID. */
  readonly workloads = new Workloads();
  /** How far agents are with enforcing policy, by SPIFFE ID. */
  readonly progress = new Map<string, AgentProgress>();
  readonly #graph = new EntryGraph();
  readonly #namespaces = new NamespacesBelow(this.#graph);
  /** Where the entries of each agent are. */
  readonly scopes = new AgentScopes(this.#graph, this.#namespaces);
  readonly #agents = new NamedCollection<SpiffeId, Agent, AgentFilter>(agentPredicate);
  readonly #bundles: Bundles;
  readonly #history = new History(HISTORY_CAPACITY);
  readonly #watches: WatchHub;
  readonly #waiters: RevisionWaiters;
  readonly #agentListeners = new Set<(agentId: string) => void>();
  readonly #expiryListeners = new Set<(expiresAtSeconds: number) => void>();
  readonly #federationListeners = new Set<() => void>();
  readonly #standingListeners = new Set<() => void>();
  #revision = 0;

  constructor(options: RegistryOptions) {
    const { clock, feedId, trustDomain } = options;
    this.feedId = feedId;
    this.trustDomain = trustDomain;
    this.entries = new EntryCollection(this.#graph);
    this.agents = this.#agents;
    this.#bundles = new Bundles(trustDomain, options.refreshHintSeconds);
    this.relationships = this.#bundles.relationships;
    this.federatedBundles = this.#bundles.federated;
    this.#waiters = new RevisionWaiters(clock);
    const authorization = { policies: this.policies, workloads: this.workloads, namespaces: this.#namespaces };
    const parts = { feedId, graph: this.#graph, history: this.#history, bundles: this.#bundles, authorization };
    const reads = { revision: () => this.#revision, agent: (id: SpiffeId) => this.#agents.get(id) };
    this.#watches = new WatchHub({ ...parts, ...reads }, clock);
  }

  /** The store's revision up to which all changes are applied. */
  get revision(): number {
    return this.#revision;
  }

  /** The own trust domain's bundle, of the authorities of all replicas; its sequence number is the revision of their last change. */
  get bundle(): Source<Bundle> {
    return this.#bundles.own;
  }

  /** The own trust domain's authorities, in order of creation. */
  get authorities(): readonly Authority[] {
    return this.#bundles.authorities.list().items;
  }

  /** How many agents are watched now. */
  get watchCount(): number {
    return this.#watches.size;
  }

  authority(kind: AuthorityKind, id: string): Authority | undefined {
    return this.#bundles.authority(kind, id);
  }

  /** The own bundle or a federated one. */
  bundleOf(trustDomain: TrustDomain): Bundle | undefined {
    return this.#bundles.of(trustDomain);
  }

  /**
   * Resolves when the changes of a revision are applied.
   *
   * @throws the signal's reason; IdentityError `unavailable` when that takes more than `timeoutMs` (5 s): the store's feed is behind
   */
  async waitFor(revision: number, options: { readonly signal?: AbortSignal; readonly timeoutMs?: number } = {}): Promise<void> {
    if (this.#revision < revision) await this.#waiters.wait(revision, options);
  }

  /** The entries that an agent may have SVIDs for: those below it, below its node aliases, and below these entries. */
  authorizedEntries(agentId: SpiffeId): readonly Entry[] {
    return [...this.#graph.descendants(this.#roots(agentId))].map(({ entry }) => entry);
  }

  /** One of {@link authorizedEntries}, without a look at the others; undefined when it does not exist or is not the agent's. */
  authorizedEntry(agentId: SpiffeId, entryId: string): Entry | undefined {
    const record = this.#graph.get(entryId);
    return record !== undefined && isBelow(this.#graph, record, this.#roots(agentId)) ? record.entry : undefined;
  }

  /** The store's revision that made an entry what it is; undefined when it does not exist. */
  revisionOfEntry(id: string): number | undefined {
    return this.#graph.get(id)?.revision;
  }

  /** What an agent may have, as a snapshot (or, resuming, what it lacks) and every later change. */
  watchAgent(agentId: SpiffeId, options: WatchOptions): AgentWatch {
    return this.#watches.watch(agentId, options);
  }

  /** Tells, by SPIFFE ID, each agent whose record came, changed or went. Returns what ends it. */
  onAgentChange(listener: (agentId: string) => void): () => void {
    this.#agentListeners.add(listener);
    return () => this.#agentListeners.delete(listener);
  }

  /** Tells that relationships or federated bundles changed. Returns what ends it. */
  onFederationChange(listener: () => void): () => void {
    this.#federationListeners.add(listener);
    return () => this.#federationListeners.delete(listener);
  }

  /** Tells that something changed on which it depends how policies stand: themselves, agents, entries, progress. Returns what ends it. */
  onStandingChange(listener: () => void): () => void {
    this.#standingListeners.add(listener);
    return () => this.#standingListeners.delete(listener);
  }

  /** Tells the expiry, in seconds since 1970, of each entry that comes or changes and has one. Returns what ends it. */
  onExpiringEntry(listener: (expiresAtSeconds: number) => void): () => void {
    this.#expiryListeners.add(listener);
    return () => this.#expiryListeners.delete(listener);
  }

  /** Entries whose expiry is before a time, in seconds since 1970. */
  expiredEntries(nowSeconds: number): readonly Entry[] {
    return [...this.#graph.expiring].map(({ entry }) => entry).filter(({ expiresAtSeconds }) => expiresAtSeconds < nowSeconds);
  }

  /** The next expiry of an entry, in seconds since 1970; undefined when none expires. */
  nextEntryExpirySeconds(): number | undefined {
    let next: number | undefined;
    for (const { entry } of this.#graph.expiring) {
      if (next === undefined || entry.expiresAtSeconds < next) next = entry.expiresAtSeconds;
    }
    return next;
  }

  /** Says that deletions up to a revision are unknown: agents that resume from before get a snapshot. */
  forgetHistory(revision: number): void {
    this.#history.raiseFloor(revision);
  }

  /** Applies changes, which come in order of revision; afterwards the registry is at `revision`. */
  apply(changes: readonly Change[], revision: number): void {
    for (const change of changes) this.#applyOne(change);
    this.#revision = Math.max(this.#revision, revision);
    if (changes.some(({ kind }) => kind === 'authority')) {
      this.#bundles.publish();
      this.#watches.noteOwnBundle();
    }
    if (changes.some(({ kind }) => kind === 'bundle' || kind === 'relationship')) {
      for (const listener of this.#federationListeners) listener();
    }
    if (this.#standingListeners.size > 0 && changes.some(({ kind }) => STANDING_KINDS.has(kind))) {
      for (const listener of this.#standingListeners) listener();
    }
    this.#watches.moved();
    this.#waiters.reached(this.#revision);
  }

  #applyOne(change: Change): void {
    switch (change.kind) {
      case 'entry':
        return this.#applyEntry(change);
      case 'agent':
        return this.#applyAgent(change);
      case 'authority':
        return this.#bundles.putAuthority(change.name, change);
      case 'bundle':
        this.#bundles.putFederated(change.name, change);
        return this.#watches.noteBundle(change.name);
      case 'relationship':
        if (change.value === undefined) return this.#bundles.relationships.delete(change.name);
        return this.#bundles.relationships.put(change.name, { ...change, value: change.value });
      case 'policy':
        this.policies.put(change.name, change.value, change.revision);
        this.#history.raiseFloor(this.policies.forgetGone());
        return this.#watches.notePolicy(namespaceOfKey(change.name));
      case 'progress':
        if (change.value === undefined) return void this.progress.delete(change.name);
        return void this.progress.set(change.name, change.value);
    }
  }

  #applyEntry({ name, value, former, superseded, revision, position }: ChangeOf<'entry'>): void {
    if (former !== undefined) this.#history.addEntry(former, revision);
    if (former !== undefined) this.workloads.touch(former, revision);
    if (superseded) return;
    const before = this.#graph.get(name);
    const after = value === undefined ? undefined : { entry: value, revision, position };
    const moved = hasMoved(before, after);
    const note = this.#watches.size === 0 ? undefined : new ChangeNote(this.#graph, moved);
    // Who had it, and what is below it, before the change as well as after.
    note?.look(before);
    this.#namespaces.leave(before, moved);
    if (after === undefined) this.#graph.delete(name);
    else this.#graph.put(after);
    this.#namespaces.enter(after, moved);
    note?.look(after);
    if (this.workloads.replace(before?.entry, value, revision)) this.#watches.noteWorkloads();
    this.#history.raiseFloor(this.workloads.forgetGone());
    if (note !== undefined) this.#watches.note(note.roots, [name, ...note.below], mayEndFederation(before, after));
    if (isAlias(before) || isAlias(after)) {
      this.scopes.aliasesChanged();
      this.#watches.refreshAllAliases();
    }
    if (value === undefined || value.expiresAtSeconds === 0) return;
    for (const listener of this.#expiryListeners) listener(value.expiresAtSeconds);
  }

  #applyAgent({ name, value, former, superseded, revision, position }: ChangeOf<'agent'>): void {
    if (former !== undefined) this.#history.addAgent(former, revision);
    if (superseded) return;
    if (value === undefined) {
      this.#agents.delete(name);
      this.#namespaces.forget(name);
      this.scopes.forget(name);
    } else this.#agents.put(name, { value, revision, position });
    this.#watches.refreshAgent(name);
    for (const listener of this.#agentListeners) listener(name);
  }

  #roots(agentId: SpiffeId): ReadonlySet<string> {
    const aliases = this.#graph.aliasesOf(this.#agents.get(agentId)?.selectors ?? []);
    return new Set([agentId.toString(), ...[...aliases].map(({ entry }) => entry.spiffeId.toString())]);
  }
}
