import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock, type Timer } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import type { DeclaredObject, DeclaredObjects } from '../declared-objects.ts';
import type { JsonObject } from '../ports.ts';
import { turn } from '../turns.ts';
import { sameStatus } from './same-status.ts';

/** Where statuses go: into the objects at the API server, or to a terminal. */
export interface StatusSink {
  write(object: DeclaredObject, status: JsonObject, signal: AbortSignal): Promise<void>;
}

/** What {@link StatusWriter} needs. */
export interface StatusWriterOptions {
  /** The status of an object as it is now; undefined for one that has none. */
  readonly statusOf: (object: DeclaredObject) => JsonObject | undefined;
  readonly declared: DeclaredObjects;
  readonly sink: StatusSink;
  readonly clock: Clock;
  readonly log: Logger;
  /** Whether entries are still being written: statuses then wait a little, so as not to be written twice. */
  readonly isBusy: () => boolean;
  /** Whether pods are still being looked at: what a status would say now is half counted. */
  readonly isCounting: () => boolean;
  /** For statuses with figures that change all the time; without it every change is written at once. */
  readonly pace?: Pace;
}

/** How often the status of one object is written when only its figures changed. */
export interface Pace {
  /** Whether a change is more than figures: it is written at once. */
  readonly isNews: (before: unknown, after: JsonObject) => boolean;
  readonly restMs: () => number;
}

const COALESCE_MS = 250;
/** How long statuses wait for entries, and for the counts to be whole: a cluster in which something always changes has statuses too. */
const BUSY_MS = 5_000;
const COUNTING_MS = 30_000;
const BACKOFF = { initialMs: 500, maxMs: 30_000 };
const IN_FLIGHT = 8;

/** Writes the status of each declaring object when it changed, and at no other time. */
export class StatusWriter {
  readonly #options: StatusWriterOptions;
  readonly #dirty = new Set<string>();
  readonly #backoff = new Backoff(BACKOFF);
  /** What was written last, because the watch may not have shown it yet. */
  readonly #written = new Map<string, JsonObject>();
  /** When each was written last, in monotonic milliseconds, where there is a pace. */
  readonly #writtenAtMs = new Map<string, number>();
  readonly #resting = new Map<string, Timer>();
  #wake: () => void = () => {};

  constructor(options: StatusWriterOptions) {
    this.#options = options;
  }

  /** Has the status of this object looked at again. */
  mark(key: string): void {
    if (this.#options.declared.get(key) === undefined) {
      this.#dirty.delete(key);
      this.#written.delete(key);
      this.#writtenAtMs.delete(key);
      return;
    }
    this.#dirty.add(key);
    this.#wake();
  }

  markAll(): void {
    for (const key of this.#options.declared.keys()) this.mark(key);
  }

  /** Writes statuses until the signal aborts. To be run by one process at a time. */
  async run(signal: AbortSignal): Promise<void> {
    this.#written.clear();
    this.markAll();
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    while (!signal.aborted) {
      await this.#changes(signal);
      await this.#calm(signal);
      if (!signal.aborted) await this.#flush(signal);
    }
    for (const timer of this.#resting.values()) timer.cancel();
    this.#resting.clear();
  }

  /** Settles a little later, when there is something to say that holds for a while. */
  async #calm(signal: AbortSignal): Promise<void> {
    const { clock, isBusy, isCounting } = this.#options;
    for (let waitedMs = COALESCE_MS; !signal.aborted; waitedMs += COALESCE_MS) {
      await sleep(clock, COALESCE_MS, signal).catch(() => {});
      const counts = isCounting() && waitedMs < COUNTING_MS;
      if (!counts && !(isBusy() && waitedMs < BUSY_MS)) return;
    }
  }

  async #changes(signal: AbortSignal): Promise<void> {
    if (this.#dirty.size > 0) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (signal.aborted) resolve();
    });
  }

  async #flush(signal: AbortSignal): Promise<void> {
    const keys = [...this.#dirty];
    this.#dirty.clear();
    let hasFailed = false;
    let isOver = turn(this.#options.clock);
    const work = async (): Promise<void> => {
      for (let key = keys.pop(); key !== undefined && !signal.aborted; key = keys.pop()) {
        if (!(await this.#write(key, signal))) hasFailed = true;
        if (!isOver()) continue;
        // Thousands that are as they ought to be cost no request, and no pause either.
        await new Promise((resolve) => void setImmediate(resolve));
        isOver = turn(this.#options.clock);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, work));
    if (!hasFailed) return this.#backoff.reset();
    await sleep(this.#options.clock, this.#backoff.nextMs(), signal).catch(() => {});
  }

  /** @returns whether there is nothing left to write */
  async #write(key: string, signal: AbortSignal): Promise<boolean> {
    const { declared, sink, statusOf, log } = this.#options;
    const object = declared.get(key);
    if (object === undefined) this.#written.delete(key);
    if (object === undefined || !object.isOurs) return true;
    const before = this.#written.get(key) ?? object.status;
    const status = statusOf({ ...object, status: before });
    if (status === undefined || this.#isThere(key, object, status) || this.#rests(key, before, status)) return true;
    try {
      await sink.write(object, status, signal);
      this.#written.set(key, status);
      this.#writtenAtMs.set(key, this.#options.clock.monotonicMs());
      return true;
    } catch (error) {
      if (signal.aborted || isIdentityError(error, 'not_found')) return true;
      if (!isIdentityError(error)) throw error;
      log.warn({ err: error, kind: object.ref.kind, name: object.ref.name }, 'status not written');
      this.#dirty.add(key);
      return false;
    }
  }

  /** Whether it is too early to write this; then it is looked at again when it is time. */
  #rests(key: string, before: unknown, status: JsonObject): boolean {
    const { pace, clock } = this.#options;
    const writtenAtMs = this.#writtenAtMs.get(key);
    if (pace === undefined || writtenAtMs === undefined || pace.isNews(before, status)) return false;
    const waitMs = writtenAtMs + pace.restMs() - clock.monotonicMs();
    if (waitMs <= 0) return false;
    if (this.#resting.has(key)) return true;
    const timer = clock.setTimer(waitMs, () => {
      this.#resting.delete(key);
      this.mark(key);
    });
    this.#resting.set(key, timer);
    return true;
  }

  #isThere(key: string, object: DeclaredObject, status: JsonObject): boolean {
    if (!sameStatus(object.status, status)) {
      // Somebody else's write, or our own that the watch has not shown yet.
      const written = this.#written.get(key);
      return written !== undefined && sameStatus(written, status);
    }
    this.#written.delete(key);
    return true;
  }
}
