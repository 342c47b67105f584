/** Bounds of a {@link Backoff}. */
export interface BackoffOptions {
  readonly initialMs: number;
  readonly maxMs: number;
  /** A source of uniform numbers in [0, 1); `Math.random` unless given. */
  readonly random?: () => number;
}

/**
 * Exponential backoff with full jitter: each delay is uniform between 0 and a ceiling that doubles up to `maxMs`, so that
 * a thousand clients that failed together do not come back together.
 *
 * @example
 * const backoff = new Backoff({ initialMs: 100, maxMs: 30_000 });
 * await sleep(clock, backoff.nextMs(), signal); // … and backoff.reset() once it worked
 */
export class Backoff {
  readonly #options: BackoffOptions;
  #ceilingMs: number;

  constructor(options: BackoffOptions) {
    this.#options = options;
    this.#ceilingMs = options.initialMs;
  }

  /** The delay before the next attempt, in milliseconds. */
  nextMs(): number {
    const random = this.#options.random ?? Math.random;
    const delayMs = random() * this.#ceilingMs;
    this.#ceilingMs = Math.min(this.#options.maxMs, this.#ceilingMs * 2);
    return delayMs;
  }

  /** Starts again from `initialMs`; call it after a success. */
  reset(): void {
    this.#ceilingMs = this.#options.initialMs;
  }
}
