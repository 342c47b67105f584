import type { Clock } from '../../core/clock.ts';

// Well below what an agent notices: others of the process have their turn in between.
const TURN_MS = 4;

/** Divides long work into turns of the event loop. */
export class Turns {
  readonly #clock: Clock;
  #startedMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedMs = clock.monotonicMs();
  }

  /** Whether the present turn has lasted long enough: then {@link next} is due. */
  get isOver(): boolean {
    return this.#clock.monotonicMs() - this.#startedMs >= TURN_MS;
  }

  /** Lets others have their turn. */
  async next(): Promise<void> {
    await new Promise((resolve) => void setImmediate(resolve));
    this.#startedMs = this.#clock.monotonicMs();
  }
}
