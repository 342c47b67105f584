import type { Clock } from '../core/clock.ts';

/** How long work may hold the event loop: health checks, lease renewals and webhooks wait behind it. */
const TURN_MS = 10;

/** Tells whether a turn's time is used up. */
export type IsOver = () => boolean;

/** A turn that begins now. */
export function turn(clock: Clock): IsOver {
  const endMs = clock.monotonicMs() + TURN_MS;
  return () => clock.monotonicMs() >= endMs;
}

/**
 * Hands out turns of the event loop, one for each time around: however many want to work at once, everything else of the process
 * comes after one of them.
 */
export class Turns {
  readonly #clock: Clock;
  #last: Promise<void> = Promise.resolve();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Settles when it is the caller's turn. What it does until {@link IsOver} says so is to be one synchronous piece of work. */
  async next(): Promise<IsOver> {
    this.#last = this.#last.then(() => new Promise((resolve) => void setImmediate(resolve)));
    await this.#last;
    return turn(this.#clock);
  }
}
