import { randomUUID } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import type { IdentityError } from '../../core/errors.ts';
import { Recording, type ReportCallsRequestSchema } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import type { Logger } from '../../runtime/log.ts';
import { isPassing } from '../../runtime/passing-failure.ts';
import type { CallRecorder, CountedCalls } from './call-recorder.ts';
import { wireCall } from './recorded-kind.ts';

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

type Request = MessageInitShape<typeof ReportCallsRequestSchema>;
interface Batch {
  readonly request: Request & { readonly batchId: string };
  readonly kinds: number;
  readonly sinceMs: number;
}

/** A message stays far below the 4 MiB that a gRPC server accepts. */
const KINDS_IN_A_BATCH = 1000;
const BYTES_IN_A_BATCH = 1024 * 1024;
const RETRY = { initialMs: 1_000, maxMs: 60_000 } as const;
const TIMEOUT_MS = 10_000;
/** What is left of a stop for the last report. */
const LAST_TIMEOUT_MS = 2_000;

/**
 * Reports counted calls to the CA, at intervals and at the end. What could not be reported is sent again as it was, under the same ID, so
 * that it counts once; meanwhile the recorder counts on within its own bounds, so the CA may be away for any time. A CA that has no such
 * service is not asked again before the next connection.
 */
export class CallReporter {
  readonly #options: CallReporterOptions;
  readonly #backoff: Backoff;
  #batches: readonly Batch[] = [];
  #refused = 0;
  #isSupported = true;
  #underWay: Promise<void> | undefined;

  constructor(options: CallReporterOptions) {
    this.#options = options;
    this.#backoff = new Backoff(RETRY);
  }

  get status(): ReportStatus {
    const { recorder } = this.#options;
    const waiting = this.#batches.reduce((sum, { kinds }) => sum + kinds, recorder.kinds);
    return { waiting, refused: this.#refused, oldestMs: this.#batches[0]?.sinceMs ?? recorder.sinceMs };
  }

  /** The CA is in touch again; it may be another one. */
  onConnected(): void {
    this.#isSupported = true;
  }

  /** Reports until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, intervalMs } = this.#options;
    // Agents that came up together do not report together.
    for (let waitMs = Math.random() * intervalMs; ; waitMs = intervalMs) {
      await sleep(clock, waitMs, signal);
      while (this.#isSupported && !(await this.#report({ signal, timeoutMs: TIMEOUT_MS }))) {
        await sleep(clock, this.#backoff.nextMs(), signal);
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

  /** Sends all there is, after whoever is at it. @returns whether nothing is left to be tried again soon */
  async #report(options: { readonly signal: AbortSignal; readonly timeoutMs: number }): Promise<boolean> {
    const before = this.#underWay;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#underWay = promise;
    await before;
    try {
      if (this.#batches.length === 0) this.#batches = this.#takeBatches();
      for (const batch of this.#batches) {
        if (!(await this.#send(batch, options))) return false;
        this.#batches = this.#batches.slice(1);
      }
      return true;
    } finally {
      resolve();
    }
  }

  #takeBatches(): readonly Batch[] {
    const { recorder } = this.#options;
    const sinceMs = recorder.sinceMs ?? 0;
    return inParts(recorder.take()).map((part) => ({
      request: { batchId: randomUUID(), calls: part.map(({ kind, count, lastSeenMs }) => wireCall(kind, count, lastSeenMs)) },
      kinds: part.length,
      sinceMs,
    }));
  }

  /** @returns whether the batch is done with */
  async #send(batch: Batch, options: { readonly signal: AbortSignal; readonly timeoutMs: number }): Promise<boolean> {
    const { connection, log } = this.#options;
    try {
      const { refused } = await connection.client(Recording).reportCalls(batch.request, options);
      if (refused > 0) log.info({ refused }, 'the ca did not take recorded calls: their destinations are not of this agent');
      this.#refused += refused;
      this.#backoff.reset();
      return true;
    } catch (error) {
      return !options.signal.aborted && this.#afterFailure(toIdentityError(error), batch);
    }
  }

  #afterFailure(failure: IdentityError, batch: Batch): boolean {
    const { log } = this.#options;
    if (failure.code === 'unimplemented') {
      this.#isSupported = false;
      log.debug('the ca records no calls');
      return false;
    }
    // An agent that is denied may be admitted again; what the CA cannot read it never will.
    if (isPassing(failure) || ['permission_denied', 'unauthenticated'].includes(failure.code)) {
      log.debug({ err: failure }, 'recorded calls not reported yet');
      return false;
    }
    log.warn({ err: failure, kinds: batch.kinds }, 'recorded calls given up: the ca cannot take them');
    this.#refused += batch.kinds;
    return true;
  }
}

function inParts(calls: readonly CountedCalls[]): readonly (readonly CountedCalls[])[] {
  const parts: CountedCalls[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const call of calls) {
    const size = sizeOf(call);
    if (bytes + size > BYTES_IN_A_BATCH || parts.at(-1)?.length === KINDS_IN_A_BATCH) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)?.push(call);
    bytes += size;
  }
  return parts;
}

/** About as many bytes as it takes; three for each character at the most. */
function sizeOf({ kind: { source, destination, request, decision, audits } }: CountedCalls): number {
  const policies = [decision?.policy, decision?.dryRun?.policy, ...audits.map(({ policy }) => policy)];
  const rules = policies.map((policy) => `${policy?.namespace}${policy?.name}`);
  const asked = request === undefined ? [] : Object.values(request);
  const texts = [source, destination.spiffeId, destination.namespace, ...destination.selectors, ...asked, ...rules];
  return texts.reduce((sum, text) => sum + 3 * text.length, 256);
}
