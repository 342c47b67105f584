import { sleep } from '../../core/clock.ts';
import type { Clock } from '../../core/clock.ts';
import { Backoff } from '../../core/backoff.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Change, Store } from '../store/store.ts';
import { startPruning } from './pruning.ts';
import { missingFrom } from './reload.ts';
import { Registry } from './registry.ts';

/** What {@link startRegistry} needs. */
export interface RegistryFeedOptions {
  readonly store: Store;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  /** Refresh hint of the own bundle, in seconds. */
  readonly refreshHintSeconds?: number | undefined;
  /** Told when the registry fell behind the store (with the reason), and when it has caught up (without). */
  readonly onOutage?: (error: Error | undefined) => void;
}

/** A registry that follows a store until it is disposed of. */
export interface RegistryFeed extends AsyncDisposable {
  readonly registry: Registry;
  /** Why the registry may be behind the store; undefined while it is not. For health reports. */
  readonly outage: Error | undefined;
}

// Deletions are kept for an hour at least, so a registry that was in touch within half of it has missed none.
const TRUSTED_GAP_MS = 30 * 60_000;

/**
 * Loads everything from the store, then applies each commit of any replica, and removes what expires. While the store is
 * down the registry stays as it is; then it catches up.
 *
 * @throws IdentityError `unavailable` when the store cannot be read
 */
export async function startRegistry(options: RegistryFeedOptions): Promise<RegistryFeed> {
  const { store, trustDomain, clock, refreshHintSeconds } = options;
  const registry = new Registry({ trustDomain, clock, feedId: store.feedId, refreshHintSeconds });
  await load(store, registry);
  const follower = new Follower(registry, options);
  const pruning = startPruning({ store, registry, clock });
  return {
    registry,
    get outage() {
      return follower.outage;
    },
    async [Symbol.asyncDispose]() {
      await pruning[Symbol.asyncDispose]();
      await follower[Symbol.asyncDispose]();
    },
  };
}

async function load(store: Store, registry: Registry): Promise<void> {
  // Asked before, so that it is not more than what was read.
  const head = await store.headRevision();
  registry.forgetHistory(await store.prunedRevision());
  await read(store, registry, { from: 0, head });
}

/** Applies what the store has after a revision. A batch may end within a revision: it counts only once the next one began. */
async function read(
  store: Store,
  registry: Registry,
  { from, head, signal }: { from: number; head: number; signal?: AbortSignal },
): Promise<void> {
  let last = from;
  for await (const changes of store.readSince(from, { deleted: true, ...(signal === undefined ? {} : { signal }) })) {
    last = changes.at(-1)?.revision ?? last;
    registry.apply(changes, last - 1);
  }
  registry.apply([], Math.max(last, head));
}

/** Keeps a registry at the store's head. */
class Follower {
  readonly #options: RegistryFeedOptions;
  readonly #registry: Registry;
  readonly #stop = new AbortController();
  readonly #following: Promise<void>;
  #catchingUp: Promise<void> | undefined;
  #head: number;
  #lastInTouchMs: number;
  #listening: Error | undefined;
  #reading: Error | undefined;

  constructor(registry: Registry, options: RegistryFeedOptions) {
    this.#registry = registry;
    this.#options = options;
    this.#head = registry.revision;
    this.#lastInTouchMs = options.clock.nowMs();
    const onHead = (revision: number): void => this.#onHead(revision);
    const onOutage = (error: Error | undefined): void => this.#tell(() => (this.#listening = error));
    this.#following = options.store.follow(onHead, this.#stop.signal, onOutage);
  }

  get outage(): Error | undefined {
    return this.#reading ?? this.#listening;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#following.catch(() => undefined);
    await this.#catchingUp?.catch(() => undefined);
  }

  #onHead(revision: number): void {
    this.#head = Math.max(this.#head, revision);
    if (this.#head <= this.#registry.revision) this.#lastInTouchMs = this.#options.clock.nowMs();
    else this.#catchingUp ??= this.#catchUp().finally(() => (this.#catchingUp = undefined));
  }

  async #catchUp(): Promise<void> {
    const backoff = new Backoff({ initialMs: 50, maxMs: 5000 });
    while (this.#registry.revision < this.#head && !this.#stop.signal.aborted) {
      try {
        await this.#readOn();
        this.#tell(() => (this.#reading = undefined));
        backoff.reset();
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        const failure = error instanceof Error ? error : new Error('cannot read the store', { cause: error });
        this.#tell(() => (this.#reading = failure));
        await sleep(this.#options.clock, backoff.nextMs(), this.#stop.signal).catch(() => undefined);
      }
    }
  }

  async #readOn(): Promise<void> {
    const { store, clock } = this.#options;
    const { signal } = this.#stop;
    const from = this.#registry.revision;
    const head = this.#head;
    const startedMs = clock.nowMs();
    await read(store, this.#registry, { from, head, signal });
    // Asked afterwards: what was pruned while reading counts too.
    const mayHaveMissed = startedMs - this.#lastInTouchMs > TRUSTED_GAP_MS || startedMs < this.#lastInTouchMs;
    if (mayHaveMissed && (await store.prunedRevision()) > from) await this.#reload();
    this.#lastInTouchMs = clock.nowMs();
  }

  /** Reads everything anew and removes what the store no longer has: its deletions were forgotten meanwhile. */
  async #reload(): Promise<void> {
    const { store } = this.#options;
    const head = await store.headRevision();
    const pruned = await store.prunedRevision();
    const all: Change[] = [];
    for await (const changes of store.readSince(0, { signal: this.#stop.signal })) all.push(...changes);
    this.#registry.apply(missingFrom(this.#registry, all, head), head);
    this.#registry.forgetHistory(pruned);
  }

  /** Notes something of the store's state, and tells when that begins or ends an outage. */
  #tell(note: () => void): void {
    const before = this.outage;
    note();
    if ((before === undefined) !== (this.outage === undefined)) this.#options.onOutage?.(this.outage);
  }
}
