import type { Clock, Timer } from '../../core/clock.ts';
import type { Store } from '../store/store.ts';
import type { Registry } from './registry.ts';

/** What pruning needs. */
export interface PruningOptions {
  readonly store: Store;
  readonly registry: Registry;
  readonly clock: Clock;
}

const HOUR_MS = 3_600_000;
/** Deletions are kept for an hour and a hundred thousand changes, whichever is more: agents resume over them. */
const KEEP = { keepMs: HOUR_MS, keepRevisions: 100_000 };
/** The wall clock may be set: an expiry is looked at again at least this often, while there is one. */
const LONGEST_WAIT_MS = 300_000;
const RETRY_MS = 30_000;
/** An expired authority stays in the bundle for a day, as SPIRE keeps it, for verifiers whose clock is behind. */
const AUTHORITY_GRACE_SECONDS = 86_400;

/** Deletes entries when they expire, and each hour what else is past: authorities, join tokens, remembered deletions. */
export function startPruning(options: PruningOptions): AsyncDisposable {
  const entries = new EntryPruner(options);
  const hourly = new HourlyPruner(options);
  return {
    async [Symbol.asyncDispose]() {
      await entries[Symbol.asyncDispose]();
      await hourly[Symbol.asyncDispose]();
    },
  };
}

/** Sleeps until the next expiry: with nothing that expires it does nothing at all. */
class EntryPruner {
  readonly #options: PruningOptions;
  readonly #unsubscribe: () => void;
  #timer: Timer | undefined;
  #wakesAtMs = Number.POSITIVE_INFINITY;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: PruningOptions) {
    this.#options = options;
    this.#unsubscribe = options.registry.onExpiringEntry((expiresAtSeconds) => this.#wakeBy(expiresAtSeconds));
    this.#sleep();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#timer?.cancel();
    await this.#running;
  }

  #wakeBy(expiresAtSeconds: number): void {
    if ((expiresAtSeconds + 1) * 1000 < this.#wakesAtMs) this.#sleepUntil(expiresAtSeconds);
  }

  #sleep(retryMs = 0): void {
    const next = this.#options.registry.nextEntryExpirySeconds();
    this.#wakesAtMs = Number.POSITIVE_INFINITY;
    if (next !== undefined) this.#sleepUntil(next, retryMs);
  }

  #sleepUntil(expiresAtSeconds: number, retryMs = 0): void {
    this.#timer?.cancel();
    if (this.#stopped) return;
    this.#wakesAtMs = (expiresAtSeconds + 1) * 1000;
    const waitMs = Math.min(LONGEST_WAIT_MS, Math.max(retryMs, this.#wakesAtMs - this.#options.clock.nowMs()));
    this.#timer = this.#options.clock.setTimer(waitMs, () => {
      this.#running = this.#prune().then(
        () => this.#sleep(),
        () => this.#sleep(RETRY_MS),
      );
    });
  }

  async #prune(): Promise<void> {
    const { store, registry, clock } = this.#options;
    const nowSeconds = Math.floor(clock.nowMs() / 1000);
    const expired = registry.expiredEntries(nowSeconds);
    if (expired.length === 0) return;
    const { revision } = await store.mutate(async (tx) => {
      // Another replica may have deleted it, or someone prolonged it.
      for (const entry of await tx.getEntries(expired.map(({ id }) => id))) {
        if (entry !== undefined && entry.expiresAtSeconds !== 0 && entry.expiresAtSeconds < nowSeconds)
          await tx.deleteEntry(entry.id);
      }
    });
    await registry.waitFor(revision);
  }
}

class HourlyPruner {
  readonly #options: PruningOptions;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: PruningOptions) {
    this.#options = options;
    this.#sleep();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #sleep(): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.setTimer(HOUR_MS, () => {
      // A store that is down now is asked again in an hour; nothing depends on the time.
      this.#running = this.#prune().then(
        () => this.#sleep(),
        () => this.#sleep(),
      );
    });
  }

  async #prune(): Promise<void> {
    const { store, registry, clock } = this.#options;
    const longAgo = Math.floor(clock.nowMs() / 1000) - AUTHORITY_GRACE_SECONDS;
    const expired = registry.authorities.filter(({ expiresAtSeconds }) => expiresAtSeconds !== 0 && expiresAtSeconds < longAgo);
    if (expired.length > 0) {
      await store.mutate(async (tx) => {
        for (const { kind, id } of expired) {
          if ((await tx.getAuthority(kind, id)) !== undefined) await tx.deleteAuthority(kind, id);
        }
      });
    }
    await store.prune(KEEP);
  }
}
