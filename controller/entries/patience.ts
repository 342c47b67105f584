import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { isIdentityError, type IdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';

const BACKOFF = { initialMs: 100, maxMs: 10_000 };

/** Waits out the times when the CA as a whole cannot be written to. */
export class Patience {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #backoff = new Backoff(BACKOFF);
  /** Why the CA cannot be written to at the moment. */
  readonly outage = new Current<IdentityError | undefined>(undefined);

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Logger }) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Does something until it works. @throws what is no IdentityError, or anything once the signal has aborted */
  async until(signal: AbortSignal, attempt: () => Promise<unknown>): Promise<void> {
    for (;;) {
      try {
        await attempt();
        return this.#succeeded();
      } catch (error) {
        if (signal.aborted || !isIdentityError(error)) throw error;
        this.#failed(error);
        await sleep(this.#clock, this.#backoff.nextMs(), signal);
      }
    }
  }

  #succeeded(): void {
    this.#backoff.reset();
    if (this.outage.value !== undefined) this.#log.info('the ca takes entries again');
    this.outage.set(undefined);
  }

  #failed(error: IdentityError): void {
    if (this.outage.value?.message !== error.message) this.#log.warn({ err: error }, 'the ca does not take entries');
    this.outage.set(error);
  }
}
