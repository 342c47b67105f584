import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';

const REPEAT_MS = 60_000;

/** Logs each failure once, and again when it lasts: callers can make an attestor fail a thousand times a second. */
export class FailureLog {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #logged = new Map<string, { readonly message: string; readonly atMs: number }>();

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Warns unless the same failure of this part was logged within the last minute. */
  failed(part: string, error: unknown, phrase: string): void {
    const message = error instanceof Error ? error.message : String(error);
    const last = this.#logged.get(part);
    const atMs = this.#clock.monotonicMs();
    if (last !== undefined && atMs - last.atMs < REPEAT_MS && kindOf(last.message) === kindOf(message)) return;
    this.#logged.set(part, { message, atMs });
    this.#log.warn({ part, err: error }, phrase);
  }

  /** Forgets the failures of a part that works again. */
  worked(part: string): void {
    this.#logged.delete(part);
  }
}

/** The message without what differs between callers, such as the pid. */
function kindOf(message: string): string {
  return message.replaceAll(/[0-9a-f]*\d[0-9a-f]*/g, '#');
}
