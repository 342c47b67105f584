import type { Clock } from '../../core/clock.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Registry } from '../../runtime/metrics.ts';
import { CallRecorder } from './call-recorder.ts';
import type { AuthorizationConfig } from './config.ts';
import type { DecidedCallObserver } from './decided-call.ts';
import { DecisionLog } from './decision-log.ts';
import { DecisionMetrics } from './decision-metrics.ts';
import { registerRecordingMetrics } from './recording-metrics.ts';
import { CallReporter } from './report-calls.ts';

/** What {@link Bookkeeping} is made from. */
export interface BookkeepingOptions {
  readonly config: Pick<AuthorizationConfig, 'decisionLog' | 'calls'>;
  /** Of the users' hashes; see `loadHashKey`. */
  readonly hashKey: Uint8Array;
  /** To the CA, which keeps the recorded calls. */
  readonly connection: Pick<GrpcConnection, 'client'>;
  readonly clock: Clock;
  /** Of the process: the decision log is a child of it, with a level of its own. */
  readonly log: Logger;
  /** Of the reports to the CA. */
  readonly reportLog: Logger;
}

/** What is kept of decided calls: the decision log, metrics, and recorded calls that are reported to the CA. */
export class Bookkeeping implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #log: DecisionLog;
  readonly #metrics = new DecisionMetrics();
  readonly #recording: { readonly recorder: CallRecorder; readonly reporter: CallReporter } | undefined;
  /** Each is to be told of every decided call. */
  readonly observers: readonly DecidedCallObserver[];

  constructor({ config: { decisionLog, calls }, hashKey, connection, clock, log, reportLog }: BookkeepingOptions) {
    const { sample, recordsPerSecond } = decisionLog;
    const { onLeftOut } = this.#metrics;
    this.#clock = clock;
    this.#log = new DecisionLog({ log, clock, sample, recordsPerSecond, hashKey, onLeftOut });
    if (calls.record) {
      const recorder = new CallRecorder({ maxKinds: calls.maxKinds });
      const reporter = new CallReporter({ recorder, connection, clock, log: reportLog, intervalMs: calls.interval.ms });
      this.#recording = { recorder, reporter };
    }
    const record = this.#recording?.recorder.observe;
    this.observers = [this.#log.observe, this.#metrics.observe, ...(record === undefined ? [] : [record])];
  }

  /** Reports recorded calls until the signal aborts; to be started once the agent has its identity. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#recording?.reporter.run(signal);
  }

  /** The CA is in touch again; it may be another one. */
  onConnected(): void {
    this.#recording?.reporter.onConnected();
  }

  /** Adds the metrics. */
  async registerMetrics(registry: Registry): Promise<void> {
    await this.#metrics.register(registry);
    if (this.#recording !== undefined) await registerRecordingMetrics(registry, { ...this.#recording, clock: this.#clock });
  }

  /** Logs and reports what is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#log[Symbol.dispose]();
    await this.#recording?.reporter.close();
  }
}
