import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';

/** What {@link withDeadline} needs. */
export interface DeadlineOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** The message of the error when time is up. */
  readonly what: string;
}

/**
 * Runs something with a signal that aborts when the caller's does or when time is up.
 *
 * @throws IdentityError `deadline_exceeded` when time is up; the caller's reason when its signal aborted
 */
export async function withDeadline<T>(options: DeadlineOptions, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { clock, timeoutMs, signal, what } = options;
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(signal?.reason);
  if (signal?.aborted === true) throw signal.reason;
  signal?.addEventListener('abort', onAbort, { once: true });
  const timer = clock.setTimer(timeoutMs, () => stop.abort(new IdentityError('deadline_exceeded', what)));
  try {
    return await run(stop.signal);
  } finally {
    timer.cancel();
    signal?.removeEventListener('abort', onAbort);
  }
}
