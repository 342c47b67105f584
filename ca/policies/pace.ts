import type { Clock } from '../../core/clock.ts';

/** After a quiet time the second comes so soon: agents need about as long for a policy. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1000;
/** A pause is not shorter than so many times what was done before it. */
const REST = 4;

/**
 * How far apart runs of a task are that is done whenever something changes: close together at first, so that what follows a change is
 * told soon, then further apart while changes go on. A quiet second begins anew.
 */
export class Pace {
  readonly #clock: Clock;
  #pauseMs = FIRST_PAUSE_MS / 2;
  #waitsSinceMs = 0;
  #beganMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes that there is nothing to do for now. */
  waits(): void {
    this.#waitsSinceMs = this.#clock.monotonicMs();
  }

  /** Notes that a run begins. */
  begins(): void {
    this.#beganMs = this.#clock.monotonicMs();
    const isFirst = this.#beganMs - this.#waitsSinceMs >= LONGEST_PAUSE_MS;
    this.#pauseMs = isFirst ? FIRST_PAUSE_MS : Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
  }

  /** The pause after the run that ends now, in milliseconds. */
  ended(): number {
    const tookMs = this.#clock.monotonicMs() - this.#beganMs;
    return Math.min(Math.max(this.#pauseMs, REST * tookMs), LONGEST_PAUSE_MS);
  }
}
