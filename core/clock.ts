/** A timer that has been set; `cancel` is harmless after it fired. */
export interface Timer {
  cancel(): void;
}

/** How a timer behaves besides firing. */
export interface TimerOptions {
  readonly keepsAlive?: boolean;
}

/**
 * Where all time comes from. Expiry is decided on wall time (`nowMs`), waiting is measured on monotonic time
 * (`monotonicMs`, `setTimer`): a step of the wall clock neither fires nor delays a timer.
 */
export interface Clock {
  /** Wall time in milliseconds since 1970-01-01T00:00:00Z. */
  nowMs(): number;
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number;
  /**
   * Calls `fire` once after `delayMs` of monotonic time. A process that has nothing else to do ends without waiting for it,
   * unless `keepsAlive` is set.
   */
  setTimer(delayMs: number, fire: () => void, options?: TimerOptions): Timer;
}

// setTimeout fires at once for delays beyond 2^31-1 ms (24.8 days), so longer ones are waited for in slices.
const MAX_SLICE_MS = 2 ** 31 - 1;

function setSystemTimer(delayMs: number, fire: () => void, { keepsAlive = false }: TimerOptions = {}): Timer {
  let handle: NodeJS.Timeout;
  const arm = (remainingMs: number): void => {
    const sliceMs = Math.min(Math.max(0, remainingMs), MAX_SLICE_MS);
    handle = setTimeout(() => (remainingMs > sliceMs ? arm(remainingMs - sliceMs) : fire()), sliceMs);
    if (!keepsAlive) handle.unref();
  };
  arm(delayMs);
  return { cancel: () => clearTimeout(handle) };
}

/** The machine's own clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer: setSystemTimer,
};

/**
 * Waits on the clock's monotonic time.
 *
 * @throws the signal's reason as soon as it aborts
 */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = (): void => {
      timer.cancel();
      reject(signal?.reason);
    };
    const wake = (): void => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    };
    // Somebody awaits this: a process must not end in the middle of it.
    const timer = clock.setTimer(delayMs, wake, { keepsAlive: true });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
