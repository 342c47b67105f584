import type { Clock } from '../core/clock.ts';

/** When something that expires was valid from and until, in wall time. */
export interface Validity {
  readonly notBeforeMs: number;
  readonly expiresAtMs: number;
}

// Rotation at half life, moved by up to a tenth of it either way, so that what was signed together is not renewed together.
const JITTER = 0.1;

/**
 * The life of one SVID, judged by both clocks: a step of the wall clock forward ends it, a step back does not revive it,
 * because the monotonic time that it was given has run out by then.
 */
export class Lifetime {
  readonly expiresAtMs: number;
  readonly #rotateAtMs: number;
  readonly #expiresAtMonotonicMs: number;
  readonly #rotateAtMonotonicMs: number;

  /** @param random a uniform number in [0, 1) */
  constructor({ notBeforeMs, expiresAtMs }: Validity, clock: Clock, random = 0.5) {
    const half = (expiresAtMs - notBeforeMs) / 2;
    const leftMs = expiresAtMs - clock.nowMs();
    this.expiresAtMs = expiresAtMs;
    this.#expiresAtMonotonicMs = clock.monotonicMs() + leftMs;
    const beforeEndMs = half * (1 + JITTER * (2 * random - 1));
    this.#rotateAtMs = expiresAtMs - beforeEndMs;
    this.#rotateAtMonotonicMs = this.#expiresAtMonotonicMs - beforeEndMs;
  }

  isExpired(clock: Clock): boolean {
    return clock.nowMs() >= this.expiresAtMs || clock.monotonicMs() >= this.#expiresAtMonotonicMs;
  }

  /** Whether it is time for a successor. */
  isDue(clock: Clock): boolean {
    return clock.nowMs() >= this.#rotateAtMs || clock.monotonicMs() >= this.#rotateAtMonotonicMs;
  }

  /** Milliseconds until {@link isDue}, if the wall clock does not step; 0 when it is. */
  dueInMs(clock: Clock): number {
    return Math.max(0, Math.min(this.#rotateAtMs - clock.nowMs(), this.#rotateAtMonotonicMs - clock.monotonicMs()));
  }

  /** Milliseconds until {@link isExpired}, if the wall clock does not step; 0 when it is. */
  expiresInMs(clock: Clock): number {
    return Math.max(0, Math.min(this.expiresAtMs - clock.nowMs(), this.#expiresAtMonotonicMs - clock.monotonicMs()));
  }
}
