import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';

/** What {@link KeyedWork} needs. */
export interface KeyedWorkOptions {
  /** Brings one key to where it should be. What it throws is logged, and it is called again later. */
  readonly work: (key: string) => Promise<void>;
  /** Keys worked on at once. */
  readonly parallel: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

const BACKOFF = { initialMs: 500, maxMs: 60_000 };

/**
 * Work by key: a key that is added while it waits is done once, one that is added while it is being worked on is done again
 * afterwards, never twice at the same time. What fails is tried again with full jitter.
 */
export class KeyedWork {
  readonly #options: KeyedWorkOptions;
  readonly #waiting = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #failed = new Map<string, Backoff>();

  constructor(options: KeyedWorkOptions) {
    this.#options = options;
  }

  /** Why keys are behind: how many failed last time they were tried. */
  get failing(): number {
    return this.#failed.size;
  }

  add(key: string): void {
    this.#waiting.add(key);
    this.#next();
  }

  /** Settles when nothing is under way; nothing is begun once the signal has aborted. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  #next(): void {
    const { parallel, signal } = this.#options;
    for (const key of this.#waiting) {
      if (signal.aborted || this.#running.size >= parallel) return;
      if (this.#running.has(key)) continue;
      this.#waiting.delete(key);
      const run = this.#run(key).finally(() => {
        this.#running.delete(key);
        this.#next();
      });
      this.#running.set(key, run);
    }
  }

  async #run(key: string): Promise<void> {
    try {
      await this.#options.work(key);
      this.#failed.delete(key);
    } catch (error) {
      if (this.#options.signal.aborted) return;
      this.#options.log.warn({ err: error, key }, 'work failed; it is tried again');
      void this.#again(key);
    }
  }

  async #again(key: string): Promise<void> {
    const { clock, signal } = this.#options;
    const backoff = this.#failed.get(key) ?? new Backoff(BACKOFF);
    this.#failed.set(key, backoff);
    await sleep(clock, backoff.nextMs(), signal).then(
      () => this.add(key),
      () => {},
    );
  }
}
