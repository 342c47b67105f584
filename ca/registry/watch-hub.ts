import type { Clock, Timer } from '../../core/clock.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { AgentDelta, AgentWatch, WatchOptions } from './agent-watch.ts';
import { ANY_NAMESPACE } from './authorization-watch.ts';
import { MultiMap } from './multi-map.ts';
import { Watcher } from './watcher.ts';
import type { WatcherSources } from './watcher.ts';

/** How long changes are collected before watchers are woken: those of one burst go out together. */
const COALESCE_MS = 5;
/** How long what is new of workloads waits for more of it; unless the agent is woken anyway. */
const WORKLOADS_MS = 50;
/** How long a watcher may stay at an old revision while nothing concerns it, so that it can still resume after days. */
const PROGRESS_MS = 120_000;

/** All watchers, found by the roots below which their entries are, so that a change reaches just those that it concerns. */
export class WatchHub {
  readonly #sources: WatcherSources;
  readonly #clock: Clock;
  readonly #watchers = new Set<Watcher>();
  readonly #byRoot = new MultiMap<Watcher>();
  readonly #byAgent = new MultiMap<Watcher>();
  /** By the namespaces whose policies they have. */
  readonly #byNamespace = new MultiMap<Watcher>();
  /** Those that would not learn at which revision they are, because nothing more of it comes. */
  readonly #ahead = new Set<Watcher>();
  #waking = false;
  #workloadTimer: Timer | undefined;
  #progressTimer: Timer | undefined;

  constructor(sources: WatcherSources, clock: Clock) {
    this.#sources = sources;
    this.#clock = clock;
  }

  /** How many watches are open. */
  get size(): number {
    return this.#watchers.size;
  }

  watch(agentId: SpiffeId, options: WatchOptions): AgentWatch {
    const iterate = (): AsyncGenerator<AgentDelta, void, undefined> => this.#deltas(agentId, options);
    return { agentId, [Symbol.asyncIterator]: iterate };
  }

  /** Notes changed entries for all watchers that have one of the roots. */
  note(roots: Iterable<string>, ids: readonly string[], federationChanged: boolean): void {
    const found = new Set<Watcher>();
    for (const root of roots) for (const watcher of this.#byRoot.get(root)) found.add(watcher);
    for (const watcher of found) this.#note(watcher, ids, federationChanged);
  }

  /** Finds the node aliases of all agents anew, after one changed. */
  refreshAllAliases(): void {
    // Agents of one kind gain and lose the same: they share one list of what is below it.
    const below = new Map<string, readonly string[]>();
    for (const watcher of this.#watchers) this.#refreshAliases(watcher, below);
  }

  /** Finds the node aliases of one agent anew, after its record changed. */
  refreshAgent(agentId: string): void {
    for (const watcher of this.#byAgent.get(agentId)) this.#refreshAliases(watcher, new Map());
  }

  /** Has the own bundle sent to all. */
  noteOwnBundle(): void {
    for (const watcher of this.#watchers) this.#note(watcher, [], false);
  }

  /** Has a federated bundle sent to those that want it. */
  noteBundle(trustDomain: string): void {
    for (const watcher of this.#watchers) if (watcher.wants(trustDomain)) this.#note(watcher, [], false);
  }

  /** Has a policy sent to those that have the policies of its namespace; the empty one is of all. */
  notePolicy(namespace: string): void {
    const concerned =
      namespace === '' ? this.#watchers : [namespace, ANY_NAMESPACE].flatMap((key) => [...this.#byNamespace.get(key)]);
    for (const watcher of concerned) if (watcher.authorization?.wants('policy') === true) this.#note(watcher, [], false);
  }

  /** Has what is new of workloads sent to those that want it. All of them do, so a burst goes out as one. */
  noteWorkloads(): void {
    if (this.#watchers.size === 0 || this.#workloadTimer !== undefined) return;
    this.#workloadTimer = this.#clock.setTimer(WORKLOADS_MS, () => {
      this.#workloadTimer = undefined;
      for (const watcher of this.#watchers) if (watcher.authorization?.wants('workload') === true) this.#note(watcher, [], false);
    });
  }

  /** Says that the registry's revision moved, whomever it concerned. */
  moved(): void {
    for (const watcher of this.#ahead) if (watcher.revision < this.#sources.revision()) this.#note(watcher, [], false);
    if (this.#watchers.size === 0 || this.#progressTimer !== undefined) return;
    this.#progressTimer = this.#clock.setTimer(PROGRESS_MS, () => {
      this.#progressTimer = undefined;
      for (const watcher of this.#watchers) if (watcher.revision < this.#sources.revision()) this.#note(watcher, [], false);
    });
  }

  #refreshAliases(watcher: Watcher, below: Map<string, readonly string[]>): void {
    const before = watcher.roots;
    const changed = watcher.updateAliases();
    if (changed.length === 0) return;
    this.#index(watcher, before, watcher.roots);
    const key = changed.join('\n');
    const ids = below.get(key) ?? [...this.#sources.graph.descendants(changed)].map(({ entry }) => entry.id);
    below.set(key, ids);
    this.#note(watcher, ids, true);
  }

  #note(watcher: Watcher, ids: readonly string[], federationChanged: boolean): void {
    watcher.note(ids, federationChanged);
    if (this.#waking) return;
    this.#waking = true;
    this.#clock.setTimer(COALESCE_MS, () => {
      this.#waking = false;
      for (const each of this.#watchers) if (each.dirty) each.wake();
    });
  }

  async *#deltas(agentId: SpiffeId, options: WatchOptions): AsyncGenerator<AgentDelta, void, undefined> {
    const { signal } = options;
    if (signal.aborted) return;
    const watcher = new Watcher(agentId, this.#sources, options);
    const onAbort = (): void => watcher.wake();
    signal.addEventListener('abort', onAbort, { once: true });
    this.#add(watcher);
    try {
      while (!isAborted(signal)) {
        if (watcher.dirty) yield this.#takeDelta(watcher);
        else await waken(watcher);
      }
    } finally {
      this.#remove(watcher);
      signal.removeEventListener('abort', onAbort);
    }
  }

  #takeDelta(watcher: Watcher): AgentDelta {
    const before = watcher.authorization?.namespaces;
    const delta = watcher.takeDelta();
    if (watcher.isAhead) this.#ahead.add(watcher);
    else this.#ahead.delete(watcher);
    this.#indexNamespaces(watcher, before, watcher.authorization?.namespaces);
    return delta;
  }

  #add(watcher: Watcher): void {
    this.#watchers.add(watcher);
    this.#byAgent.add(watcher.agentId.toString(), watcher);
    this.#index(watcher, new Set(), watcher.roots);
  }

  #remove(watcher: Watcher): void {
    this.#watchers.delete(watcher);
    this.#ahead.delete(watcher);
    this.#byAgent.delete(watcher.agentId.toString(), watcher);
    this.#index(watcher, watcher.roots, new Set());
    this.#indexNamespaces(watcher, watcher.authorization?.namespaces, undefined);
    if (this.#watchers.size > 0) return;
    this.#progressTimer?.cancel();
    this.#progressTimer = undefined;
    this.#workloadTimer?.cancel();
    this.#workloadTimer = undefined;
  }

  #indexNamespaces(watcher: Watcher, before: ReadonlySet<string> | undefined, after: ReadonlySet<string> | undefined): void {
    if (before === after) return;
    for (const namespace of before ?? []) if (after?.has(namespace) !== true) this.#byNamespace.delete(namespace, watcher);
    for (const namespace of after ?? []) this.#byNamespace.add(namespace, watcher);
  }

  #index(watcher: Watcher, before: ReadonlySet<string>, after: ReadonlySet<string>): void {
    for (const root of before) if (!after.has(root)) this.#byRoot.delete(root, watcher);
    for (const root of after) if (!before.has(root)) this.#byRoot.add(root, watcher);
  }
}

// Apart, because the compiler takes a signal that was not aborted for one that never will be.
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

function waken(watcher: Watcher): Promise<void> {
  return new Promise((resolve) => {
    watcher.wake = resolve;
  });
}
