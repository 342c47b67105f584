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
  readonly #what: string;
  readonly #backoff = new Backoff(BACKOFF);
  /** Why the CA cannot be written to at the moment. */
  readonly outage = new Current<IdentityError | undefined>(undefined);

  /** @param options `what` the CA takes, such as `entries` */
  constructor({ clock, log, what }: { readonly clock: Clock; readonly log: Logger; readonly what: string }) {
    this.#clock = clock;
    this.#log = log;
    this.#what = what;
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
    if (this.outage.value !== undefined) this.#log.info(`the ca takes ${this.#what} again`);
    this.outage.set(undefined);
  }

  #failed(error: IdentityError): void {
    if (this.outage.value?.message !== error.message) this.#log.warn({ err: error }, `the ca does not take ${this.#what}`);
    this.outage.set(error);
  }
}
