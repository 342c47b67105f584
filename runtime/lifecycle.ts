import type { Logger } from './log.ts';

/** A process that runs until it is told to stop. */
export interface RunningProcess extends AsyncDisposable {
  /** Settles when the process ends by itself: rejects with what ended it. Absent for one that only ends when told. */
  readonly ended?: Promise<void>;
}

/** What {@link runProcess} needs. */
export interface RunOptions {
  readonly log: Logger;
  /** Builds and starts everything; the signal aborts when a stop is asked for during start-up. */
  readonly start: (signal: AbortSignal) => Promise<RunningProcess>;
  /** How long a graceful stop may take, in milliseconds; 10 s unless given. */
  readonly graceMs?: number;
}

/**
 * Runs a process from start to exit: SIGINT or SIGTERM stops it gracefully, a second one at once.
 *
 * @returns the exit code: 0 after a clean stop, 1 after a failure
 */
export async function runProcess({ log, start, graceMs = 10_000 }: RunOptions): Promise<number> {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(130);
    log.info({ signal: name }, 'stopping');
    stop.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    const running = await start(stop.signal);
    try {
      await Promise.race([running.ended ?? new Promise<never>(() => {}), aborted(stop.signal)]);
    } finally {
      await close(running, graceMs, log);
    }
    log.info('stopped');
    return 0;
  } catch (error) {
    if (stop.signal.aborted && error === stop.signal.reason) return 0;
    log.fatal({ err: error }, 'ended by a failure');
    return 1;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

async function close(running: AsyncDisposable, graceMs: number, log: Logger): Promise<void> {
  const late = setTimeout(() => {
    log.warn({ graceMs }, 'stop took too long; exiting');
    process.exit(1);
  }, graceMs);
  await running[Symbol.asyncDispose]();
  clearTimeout(late);
}
