import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import type { IdentityError } from '../../core/errors.ts';
import { Recording } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import type { Logger } from '../../runtime/log.ts';
import { isPassing } from '../../runtime/passing-failure.ts';
import { batchesOf, halvesOf, type CallBatch } from './call-batch.ts';
import type { CallRecorder } from './call-recorder.ts';

/** What {@link CallReporter} is made from. */
export interface CallReporterOptions {
  readonly recorder: CallRecorder;
  readonly connection: Pick<GrpcConnection, 'client'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly intervalMs: number;
}

/** How reporting stands; for metrics. */
export interface ReportStatus {
  /** Kinds of calls that the CA has not taken yet. */
  readonly waiting: number;
  /** Calls that the CA did not take and never will, since the start. */
  readonly refused: number;
  /** When the oldest call was seen that the CA has not taken yet; undefined when there is none. */
  readonly oldestMs: number | undefined;
}

interface Attempt {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

const RETRY = { initialMs: 1_000, maxMs: 60_000 } as const;
/** Agents whose CA is back do not report all at once. */
const RECONNECT_SPREAD_MS = 5_000;
const TIMEOUT_MS = 10_000;
/** What is left of a stop for the last report. */
const LAST_TIMEOUT_MS = 2_000;

/**
 * Reports counted calls to the CA, at intervals and at the end. What could not be reported is sent again as it was, under the same ID, so
 * that it counts once; meanwhile the recorder counts on within its own bounds, so the CA may be away for any time, and is
 * reported to within seconds once it is back. Of what the CA cannot take the other calls are sent without it. A CA that has no such service
 * is not asked again before the next connection.
 */
export class CallReporter {
  readonly #options: CallReporterOptions;
  readonly #backoff: Backoff;
  #batches: readonly CallBatch[] = [];
  #refused = 0;
  #isSupported = true;
  #reconnected = new AbortController();
  #underWay: Promise<void> | undefined;

  constructor(options: CallReporterOptions) {
    this.#options = options;
    this.#backoff = new Backoff(RETRY);
  }

  get status(): ReportStatus {
    const { recorder } = this.#options;
    const waiting = this.#batches.reduce((sum, { request }) => sum + request.calls.length, recorder.kinds);
    return { waiting, refused: this.#refused, oldestMs: this.#batches[0]?.sinceMs ?? recorder.sinceMs };
  }

  /** The CA is in touch again; it may be another one. */
  onConnected(): void {
    this.#isSupported = true;
    this.#backoff.reset();
    this.#reconnected.abort();
    this.#reconnected = new AbortController();
  }

  /** Reports until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, intervalMs } = this.#options;
    // Agents that came up together do not report together.
    for (let waitMs = Math.random() * intervalMs; ; waitMs = intervalMs) {
      await sleep(clock, waitMs, signal);
      while (this.#isSupported && !(await this.#report({ signal, timeoutMs: TIMEOUT_MS }))) {
        await this.#pause(signal);
      }
    }
  }

  /** Reports once more what there is; where that fails it is lost, and logged. */
  async close(): Promise<void> {
    await this.#underWay;
    if (!this.#isSupported || this.status.waiting === 0) return;
    const { clock, log } = this.#options;
    const limit = new AbortController();
    const timer = clock.setTimer(LAST_TIMEOUT_MS, () => limit.abort());
    const isDone = await this.#report({ signal: limit.signal, timeoutMs: LAST_TIMEOUT_MS });
    timer.cancel();
    if (!isDone && this.#isSupported)
      log.warn({ kinds: this.status.waiting }, 'recorded calls are lost: the ca did not take them before the stop');
  }

  /** Waits before the next attempt; for a few seconds at most from when the CA is in touch again. */
  async #pause(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const reconnected = this.#reconnected.signal;
    try {
      await sleep(clock, this.#backoff.nextMs(), AbortSignal.any([signal, reconnected]));
    } catch (error) {
      if (signal.aborted || !reconnected.aborted) throw error;
      await sleep(clock, Math.random() * RECONNECT_SPREAD_MS, signal);
    }
  }

  /** Sends all there is, after whoever is at it. @returns whether nothing is left to be tried again soon */
  async #report(attempt: Attempt): Promise<boolean> {
    const before = this.#underWay;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#underWay = promise;
    await before;
    try {
      const { recorder } = this.#options;
      const { sinceMs = 0 } = recorder;
      if (this.#batches.length === 0) this.#batches = batchesOf(recorder.take(), sinceMs);
      for (let [batch] = this.#batches; batch !== undefined; [batch] = this.#batches) {
        const left = await this.#send(batch, attempt);
        if (left === 'all') return false;
        this.#batches = [...left, ...this.#batches.slice(1)];
      }
      return true;
    } finally {
      resolve();
    }
  }

  /** @returns what of the batch is left to be sent: at once, or later where it is all of it */
  async #send(batch: CallBatch, attempt: Attempt): Promise<readonly CallBatch[] | 'all'> {
    const { connection, log } = this.#options;
    try {
      const { refused } = await connection.client(Recording).reportCalls(batch.request, attempt);
      if (refused > 0) log.info({ refused }, 'the ca did not take recorded calls: their destinations are not of this agent');
      this.#refused += refused;
      this.#backoff.reset();
      return [];
    } catch (error) {
      return attempt.signal.aborted ? 'all' : this.#afterFailure(toIdentityError(error), batch);
    }
  }

  #afterFailure(failure: IdentityError, batch: CallBatch): readonly CallBatch[] | 'all' {
    const { log } = this.#options;
    if (failure.code === 'unimplemented') {
      this.#isSupported = false;
      log.debug('the ca records no calls');
      return 'all';
    }
    // An agent that is denied may be admitted again; what the CA cannot read it never will.
    if (isPassing(failure) || ['permission_denied', 'unauthenticated'].includes(failure.code)) {
      log.debug({ err: failure }, 'recorded calls not reported yet');
      return 'all';
    }
    batch.history.refusals += 1;
    const halves = failure.code === 'invalid_argument' ? halvesOf(batch) : [];
    if (halves.length === 0) this.#giveUp(batch, failure);
    return halves;
  }

  /** One line for what was sent together: the CA may be unable to take any of it. */
  #giveUp({ request, history }: CallBatch, err: IdentityError): void {
    const kinds = request.calls.length;
    const level = history.givenUp === 0 ? 'warn' : 'debug';
    this.#options.log[level]({ err, kinds }, 'recorded calls given up: the ca cannot take them');
    history.givenUp += kinds;
    this.#refused += kinds;
  }
}
