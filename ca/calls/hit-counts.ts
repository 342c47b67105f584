import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import type { CallStore, PolicyHits } from './call-store.ts';

/** How often policies decided. */
export interface CallCounts {
  /** By policy key, since a time in milliseconds since 1970, as it was ten seconds ago at most; a policy that decided nothing may be missing. */
  since(sinceMs: number): Promise<ReadonlyMap<string, PolicyHits>>;
}

// Other replicas write to the store as well.
const OLD_MS = 10_000;
// What is stored here need not wait for that, nor is every report worth a look.
const SOON_MS = 1000;

/** The counts of all replicas, read from the store when somebody asks, but not more often than every ten seconds. */
export class HitCounts implements CallCounts, AsyncDisposable {
  readonly #options: { readonly store: CallStore; readonly clock: Clock; readonly log: Logger };
  #hits: ReadonlyMap<string, PolicyHits> = new Map();
  #isDueAtMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;

  constructor(options: { readonly store: CallStore; readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
  }

  async since(sinceMs: number): Promise<ReadonlyMap<string, PolicyHits>> {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#reading === undefined && nowMs >= this.#isDueAtMs) {
      this.#isDueAtMs = nowMs + OLD_MS;
      this.#reading = this.#read(sinceMs).finally(() => (this.#reading = undefined));
    }
    await this.#reading;
    return this.#hits;
  }

  /** Calls were stored here: what was read is no longer all there is. */
  noteStored(): void {
    this.#isDueAtMs = Math.min(this.#isDueAtMs, this.#options.clock.monotonicMs() + SOON_MS);
  }

  async #read(sinceMs: number): Promise<void> {
    const { store, log } = this.#options;
    try {
      this.#hits = await store.hits(sinceMs);
    } catch (err) {
      log.debug({ err }, 'counts of policies not read');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reading;
  }
}
