import type { Clock, Timer } from '../core/clock.ts';
import { formatDuration } from '../core/duration.ts';
import { IdentityError } from '../core/errors.ts';

/** How long something may take, and who is told meanwhile. */
export interface TimeLimit {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** What it waits for at the moment and why, such as `the CA: cannot be reached`. */
  readonly waitingFor: () => string;
  /** Told what is waited for once that has taken a while, and whenever it changes. */
  readonly tell: (text: string) => void;
  /** Ends it before its time. */
  readonly signal: AbortSignal;
}

const TELL_EVERY_MS = 1_000;
/** Whoever waits wants to know why after so long; what is quicker is no news. */
const TELL_AFTER_MS = 3_000;

/**
 * Does something that may have to wait for others, for a limited time.
 *
 * @throws IdentityError `deadline_exceeded` that says what it waited for
 */
export async function withinTime<T>(work: (signal: AbortSignal) => Promise<T>, limit: TimeLimit): Promise<T> {
  const { clock, timeoutMs, waitingFor, tell, signal } = limit;
  const late = new AbortController();
  const deadline = clock.setTimer(timeoutMs, () => late.abort(tooLate(timeoutMs, waitingFor())));
  let told = '';
  let timer: Timer | undefined;
  const look = (delayMs: number): void => {
    timer = clock.setTimer(delayMs, () => {
      const text = waitingFor();
      if (text !== told) tell(`waiting for ${text}`);
      told = text;
      look(TELL_EVERY_MS);
    });
  };
  look(TELL_AFTER_MS);
  try {
    return await work(AbortSignal.any([signal, late.signal]));
  } catch (error) {
    late.signal.throwIfAborted();
    throw error;
  } finally {
    deadline.cancel();
    timer?.cancel();
  }
}

function tooLate(ms: number, waitingFor: string): IdentityError {
  const message = `nothing to show within ${formatDuration({ ms })}: waiting for ${waitingFor}; --timeout TIME gives it longer`;
  return new IdentityError('deadline_exceeded', message);
}
