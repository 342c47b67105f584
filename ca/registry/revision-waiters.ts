import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';

const DEFAULT_TIMEOUT_MS = 5000;

interface Waiter {
  readonly revision: number;
  readonly resolve: () => void;
}

/** Those who wait until the registry has reached a revision. */
export class RevisionWaiters {
  readonly #clock: Clock;
  readonly #waiters = new Set<Waiter>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws the signal's reason; IdentityError `unavailable` after the time limit */
  async wait(revision: number, options: { readonly signal?: AbortSignal; readonly timeoutMs?: number }): Promise<void> {
    options.signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { revision, resolve };
    const onAbort = (): void => reject(options.signal?.reason);
    const timer = this.#clock.setTimer(options.timeoutMs ?? DEFAULT_TIMEOUT_MS, () => reject(behind()));
    options.signal?.addEventListener('abort', onAbort, { once: true });
    this.#waiters.add(waiter);
    try {
      await promise;
    } finally {
      this.#waiters.delete(waiter);
      timer.cancel();
      options.signal?.removeEventListener('abort', onAbort);
    }
  }

  reached(revision: number): void {
    for (const waiter of this.#waiters) if (waiter.revision <= revision) waiter.resolve();
  }
}

function behind(): IdentityError {
  const message = 'the change is stored, but has not come back through the store’s feed yet; try to read again in a moment';
  return new IdentityError('unavailable', message, { retryAfterMs: 1000 });
}
