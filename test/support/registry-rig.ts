import { startRegistry } from '../../ca/registry/feed.ts';
import type { RegistryFeed } from '../../ca/registry/feed.ts';
import type { AgentDelta, Registry, Resume } from '../../ca/registry/registry.ts';
import { openStore } from '../../ca/store/open.ts';
import type { Mutation, Store } from '../../ca/store/store.ts';
import type { Entry } from '../../ca/model.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { exampleOrg } from './entries.ts';
import { ManualClock } from './manual-clock.ts';

/** A store in memory with a registry that follows it, on a clock that the test moves. */
export class RegistryRig implements AsyncDisposable {
  readonly clock: ManualClock;
  readonly store: Store;
  #feed: RegistryFeed;

  private constructor(clock: ManualClock, store: Store, feed: RegistryFeed) {
    this.clock = clock;
    this.store = store;
    this.#feed = feed;
  }

  static async start(): Promise<RegistryRig> {
    const clock = new ManualClock();
    const store = await openStore({ kind: 'sqlite', path: ':memory:' }, { clock });
    return new RegistryRig(clock, store, await startRegistry({ store, clock, trustDomain: exampleOrg }));
  }

  get registry(): Registry {
    return this.#feed.registry;
  }

  /** Changes the store and waits until the registry has it. */
  async mutate<T>(work: (tx: Mutation) => Promise<T>): Promise<T> {
    const { value, revision } = await this.store.mutate(work);
    await this.registry.waitFor(revision);
    return value;
  }

  /** As a restart of the CA: another registry, loaded from the same store. */
  async restart(): Promise<void> {
    await this.#feed[Symbol.asyncDispose]();
    this.#feed = await startRegistry({ store: this.store, clock: this.clock, trustDomain: exampleOrg });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#feed[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
  }
}

/** An agent's side of a watch: it applies deltas to what it has, and resumes where it stopped. */
export class WatchingAgent {
  readonly id: SpiffeId;
  readonly entries = new Map<string, Entry>();
  readonly bundles = new Map<string, Bundle>();
  resume: Resume | undefined;
  #deltas: AsyncIterator<AgentDelta> | undefined;
  #stop = new AbortController();

  constructor(id: SpiffeId) {
    this.id = id;
  }

  connect(registry: Registry): void {
    this.#stop = new AbortController();
    const watch = registry.watchAgent(this.id, { resume: this.resume, signal: this.#stop.signal });
    this.#deltas = watch[Symbol.asyncIterator]();
  }

  disconnect(): void {
    this.#stop.abort();
    this.#deltas = undefined;
  }

  /** Waits for the next delta and applies it. */
  async take(feedId: string): Promise<AgentDelta> {
    const { value, done } = (await this.#deltas?.next()) ?? { done: true, value: undefined };
    if (done === true || value === undefined) throw new Error('the watch has ended');
    if (value.snapshot) {
      this.entries.clear();
      this.bundles.clear();
    }
    for (const { entry } of value.put) this.entries.set(entry.id, entry);
    for (const id of value.removed) this.entries.delete(id);
    for (const name of value.removedBundles) this.bundles.delete(name);
    for (const { bundle } of value.bundles) this.bundles.set(bundle.trustDomain.name, bundle);
    this.resume = { feedId, revision: value.revision };
    return value;
  }
}
