import type { Clock } from '../../core/clock.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';

const FAILURES = 5;
const REST_MS = 1_000;

/**
 * Lets a store rest that has failed several times in a row: for a second, questions fail at once instead of waiting for their deadline
 * one and all; then one is asked to see how it is.
 */
export class Rest {
  readonly #clock: Clock;
  #failures = 0;
  #untilMs = 0;
  #isProbing = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Asks, unless the store rests. @throws IdentityError `unavailable` while it does; what `ask` throws */
  async around<T>(ask: () => Promise<T>): Promise<T> {
    const isTired = this.#failures >= FAILURES;
    if (isTired && (this.#isProbing || this.#clock.monotonicMs() < this.#untilMs)) {
      throw new IdentityError(
        'unavailable',
        'the relation store has failed several times in a row and is not asked for a second',
      );
    }
    if (isTired) this.#isProbing = true;
    try {
      const answer = await ask();
      this.#failures = 0;
      return answer;
    } catch (error) {
      if (isTrouble(error)) this.#failed();
      else this.#failures = 0;
      throw error;
    } finally {
      if (isTired) this.#isProbing = false;
    }
  }

  #failed(): void {
    this.#failures += 1;
    this.#untilMs = this.#clock.monotonicMs() + REST_MS;
  }
}

/** A question that the store refuses says that it is well. */
function isTrouble(error: unknown): boolean {
  return !isIdentityError(error) || ['unavailable', 'deadline_exceeded', 'resource_exhausted'].includes(error.code);
}
