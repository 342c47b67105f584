import type { Clock, Timer } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import type { CallBatch, CallStore } from './call-store.ts';
import { HOUR_MS } from './slots.ts';

/** What a {@link CallRecorder} needs. */
export interface CallRecorderOptions {
  readonly store: CallStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long calls are kept, in milliseconds. */
  readonly keepMs: number;
}

// Reports of many agents go into one transaction: agents come every ten seconds and are in no hurry.
const GATHER_MS = 100;
const CALLS_AT_ONCE = 500;
const MOST_WAITING = 100_000;
const PRUNE_MS = 10 * 60_000;
/** Agents give a batch up long before. */
const BATCHES_MS = 24 * HOUR_MS;
const HITS_MS = 2 * HOUR_MS;

interface Waiting {
  readonly batch: CallBatch;
  readonly stored: PromiseWithResolvers<void>;
}

/** Writes reports of calls to the store, several in one transaction, and forgets what is old. */
export class CallRecorder implements AsyncDisposable {
  readonly #options: CallRecorderOptions;
  readonly #waiting: Waiting[] = [];
  #waitingCalls = 0;
  #timer: Timer | undefined;
  #pruneTimer: Timer | undefined;
  #writing: Promise<void> | undefined;
  #pruning: Promise<void> = Promise.resolve();
  #stopped = false;
  #totals = { stored: 0, folded: 0 };

  constructor(options: CallRecorderOptions) {
    this.#options = options;
    this.#sleepUntilPruning();
  }

  /** Calls that were stored since the start, and those of which host and path were left out. */
  get totals(): { readonly stored: number; readonly folded: number } {
    return this.#totals;
  }

  /**
   * Resolves when a report is stored for good, or was before.
   *
   * @throws IdentityError `unavailable` (nothing of it is stored; the same batch may come again), `resource_exhausted` while too
   *   many wait for the store
   */
  async record(batch: CallBatch): Promise<void> {
    if (this.#stopped) throw new IdentityError('unavailable', 'the CA is stopping');
    if (this.#waitingCalls + batch.calls.length > MOST_WAITING) {
      throw new IdentityError('resource_exhausted', 'too many recorded calls wait for the store; send them again later', {
        retryAfterMs: 10_000,
      });
    }
    const stored = Promise.withResolvers<void>();
    this.#waiting.push({ batch, stored });
    this.#waitingCalls += batch.calls.length;
    this.#schedule();
    await stored.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#pruneTimer?.cancel();
    await this.#writing;
    while (this.#waiting.length > 0) await this.#write();
    await this.#pruning;
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#writing !== undefined) return;
    this.#timer = this.#options.clock.setTimer(GATHER_MS, () => {
      this.#timer = undefined;
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
        if (this.#waiting.length > 0 && !this.#stopped) this.#schedule();
      });
    });
  }

  async #write(): Promise<void> {
    const taken = this.#take();
    try {
      const batches = taken.map(({ batch }) => batch);
      const { calls, folded } = await this.#options.store.add(batches, this.#options.clock.nowMs());
      this.#totals = { stored: this.#totals.stored + calls - folded, folded: this.#totals.folded + folded };
      for (const { stored } of taken) stored.resolve();
    } catch (error) {
      for (const { stored } of taken) stored.reject(error);
    }
  }

  /** So many that the store is not held for long; one report always. */
  #take(): readonly Waiting[] {
    const taken: Waiting[] = [];
    for (let calls = 0; this.#waiting.length > 0 && (taken.length === 0 || calls < CALLS_AT_ONCE);) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      taken.push(next);
      calls += next.batch.calls.length;
      this.#waitingCalls -= next.batch.calls.length;
    }
    return taken;
  }

  #sleepUntilPruning(): void {
    const { clock, store, log, keepMs } = this.#options;
    this.#pruneTimer = clock.setTimer(PRUNE_MS, () => {
      const nowMs = clock.nowMs();
      const horizon = { callsMs: nowMs - keepMs, batchesMs: nowMs - BATCHES_MS, hitsMs: nowMs - HITS_MS };
      this.#pruning = store
        .prune(horizon)
        .catch((err: unknown) => log.warn({ err }, 'old recorded calls not pruned'))
        .then(() => (this.#stopped ? undefined : this.#sleepUntilPruning()));
    });
  }
}
