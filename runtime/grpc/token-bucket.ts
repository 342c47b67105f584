import type { Clock } from '../../core/clock.ts';

/** How much of something a connection may do: `burst` at once, then `perSecond`. */
export interface Allowance {
  readonly burst: number;
  readonly perSecond: number;
}

/** Counts against an {@link Allowance}. */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #allowance: Allowance;
  #tokens: number;
  #filledMs: number;

  constructor(clock: Clock, allowance: Allowance) {
    this.#clock = clock;
    this.#allowance = allowance;
    this.#tokens = allowance.burst;
    this.#filledMs = clock.monotonicMs();
  }

  /** Takes one; false when there is none. */
  take(): boolean {
    if (this.#tokens < 1) {
      const nowMs = this.#clock.monotonicMs();
      const earned = ((nowMs - this.#filledMs) / 1000) * this.#allowance.perSecond;
      this.#tokens = Math.min(this.#allowance.burst, this.#tokens + earned);
      this.#filledMs = nowMs;
    }
    this.#tokens -= 1;
    return this.#tokens >= 0;
  }
}
