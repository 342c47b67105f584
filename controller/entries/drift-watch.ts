import { sleep, type Clock } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';

/** What {@link DriftWatch} needs. */
export interface DriftWatchOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** How often a comparison is made when nobody asks for one. */
  readonly driftCheckMs: number;
  readonly check: (signal: AbortSignal) => Promise<void>;
}

/** No request of a process that no longer leads is under way for longer. */
const LATE_WRITES_MS = 10_000;
/** What else is found amiss meanwhile needs no comparison of its own. */
const SOON_MS = 1_000;

/** Compares what is at the CA with what is known of it, from time to time and when there is a reason to. */
export class DriftWatch {
  readonly #options: DriftWatchOptions;
  #isAsked = false;
  #wake: () => void = () => {};

  constructor(options: DriftWatchOptions) {
    this.#options = options;
  }

  /** Asks for a comparison soon: somebody else has written. */
  ask(): void {
    this.#isAsked = true;
    this.#wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { driftCheckMs, check, log } = this.#options;
    // A write of whoever wrote before may arrive after the first list was read.
    for (let waitMs = Math.min(LATE_WRITES_MS, driftCheckMs); !signal.aborted; waitMs = driftCheckMs) {
      try {
        await this.#wait(waitMs, signal);
        await check(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!isIdentityError(error)) throw error;
        log.warn({ err: error }, 'what is at the ca could not be compared');
      }
    }
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    if (!this.#isAsked) await this.#asked(ms, signal);
    if (this.#isAsked) await sleep(clock, Math.min(SOON_MS, ms), signal);
    this.#isAsked = false;
  }

  /** Settles after the time, or when a comparison is asked for. */
  async #asked(ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const over = new AbortController();
    try {
      await Promise.race([sleep(this.#options.clock, ms, AbortSignal.any([signal, over.signal])), promise]);
    } finally {
      over.abort();
    }
  }
}
