import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import { RecordLimit } from './record-limit.ts';

const LIMIT = { perSecond: 1, burst: 10 } as const;
const SUMMARY_MS = 10_000;

/**
 * Error lines of failures that each call may run into, a thousand times a second: ten at once of each, then one a second. What was
 * left out is told every ten seconds, as `failures left out of the log` with its number for each line.
 */
export class FailureLines {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #limits = new Map<string, RecordLimit>();
  readonly #leftOut = new Map<string, number>();

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Logs the failure, or counts it. @param line a fixed text, of which there are few */
  error(err: unknown, line: string): void {
    if (this.#limitOf(line).take()) return this.#log.error({ err }, line);
    if (this.#leftOut.size === 0) this.#clock.setTimer(SUMMARY_MS, () => this.#summarise());
    this.#leftOut.set(line, (this.#leftOut.get(line) ?? 0) + 1);
  }

  #limitOf(line: string): RecordLimit {
    const known = this.#limits.get(line) ?? new RecordLimit(this.#clock, LIMIT);
    this.#limits.set(line, known);
    return known;
  }

  #summarise(): void {
    this.#log.error({ leftOut: Object.fromEntries(this.#leftOut) }, 'failures left out of the log');
    this.#leftOut.clear();
  }
}
