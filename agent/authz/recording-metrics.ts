import type { Clock } from '../../core/clock.ts';
import type { Registry } from '../../runtime/metrics.ts';
import type { CallRecorder } from './call-recorder.ts';
import type { CallReporter } from './report-calls.ts';

/** Whose figures are read when they are scraped. */
export interface RecordingFigures {
  readonly recorder: Pick<CallRecorder, 'losses'>;
  readonly reporter: Pick<CallReporter, 'status'>;
  readonly clock: Clock;
}

/** Adds the metrics of recorded calls. Their library is loaded by then. */
export async function registerRecordingMetrics(
  registry: Registry,
  { recorder, reporter, clock }: RecordingFigures,
): Promise<void> {
  const { Counter, gaugeOf } = await import('../../runtime/metrics.ts');
  gaugeOf(registry, 'countersign_agent_recorded_kinds', 'Kinds of calls that the CA has not taken yet', () => {
    return reporter.status.waiting;
  });
  gaugeOf(registry, 'countersign_agent_recorded_age_seconds', 'Age of the oldest call that the CA has not taken yet', () => {
    const { oldestMs } = reporter.status;
    return oldestMs === undefined ? 0 : Math.max(0, clock.nowMs() - oldestMs) / 1000;
  });
  registry.registerMetric(
    new Counter({
      name: 'countersign_agent_calls_not_recorded_total',
      help: 'Calls recorded without their path, or not at all',
      labelNames: ['why'],
      registers: [],
      collect() {
        this.reset();
        for (const [why, count] of Object.entries(recorder.losses)) this.inc({ why }, count);
        this.inc({ why: 'refused' }, reporter.status.refused);
      },
    }),
  );
}
