// What keeping book of a decided call costs the agent: recorded calls, metrics, decision log; and the memory of what is kept.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { pino } from 'pino';
import { CallRecorder } from '../../agent/authz/call-recorder.ts';
import type { DecidedCall, DecidedCallObserver } from '../../agent/authz/decided-call.ts';
import { DecisionLog } from '../../agent/authz/decision-log.ts';
import { DecisionMetrics } from '../../agent/authz/decision-metrics.ts';
import { systemClock } from '../../core/clock.ts';
import { createMetrics } from '../../runtime/metrics.ts';
import { decidedCall } from '../support/decided-calls.ts';
import type { Figure } from './report.ts';

const CALLS = 200_000;
const ROUNDS = 7;
const MAX_KINDS = 10_000;

/** Nothing is started: the agent's parts run in this process. */
export async function measureRecording(): Promise<Figure[]> {
  const figure = (what: string, micros: number, atMost?: number): Figure => ({
    section: 'recording',
    what,
    unit: 'µs',
    countersign: micros,
    lessIsBetter: true,
    ...(atMost === undefined ? {} : { target: { atMost } }),
  });
  const identifiers = callsTo((index) => `/api/v1/orders/${index}/items/${index * 7}`);
  return [
    figure(
      'record a call, one kind',
      perCall(
        recorder(),
        callsTo(() => '/orders'),
      ),
      3,
    ),
    figure('record a call, identifiers in the path', perCall(recorder(), identifiers), 3),
    figure(
      'record a call, more paths than are kept',
      perCall(
        recorder(),
        callsTo((index) => `/p${index}x/abc`),
      ),
      3,
    ),
    figure('count a call in the metrics', perCall(await metrics(), identifiers)),
    figure('log a call', perCall(logging(1), identifiers)),
    figure('leave a call out of the log', perCall(logging(0), identifiers)),
    { section: 'recording', what: '10,000 recorded kinds', unit: 'MiB', countersign: heapMib(), lessIsBetter: true },
  ];
}

function callsTo(pathOf: (index: number) => string): readonly DecidedCall[] {
  return Array.from({ length: 5_000 }, (_, index) => decidedCall({ request: { target: pathOf(index) } }));
}

const recorder = (): DecidedCallObserver => new CallRecorder({ maxKinds: MAX_KINDS }).observe;

async function metrics(): Promise<DecidedCallObserver> {
  const counted = new DecisionMetrics();
  await counted.register(createMetrics());
  return counted.observe;
}

function logging(sample: number): DecidedCallObserver {
  const log = pino({}, { write: () => {} });
  return new DecisionLog({ log, clock: systemClock, sample, recordsPerSecond: 20, hashKey: Buffer.alloc(32) }).observe;
}

/** Processor time of this process, in microseconds: what else runs on the machine does not count. The median of some rounds. */
function perCall(observe: DecidedCallObserver, calls: readonly DecidedCall[]): number {
  const rounds = Array.from({ length: ROUNDS }, () => {
    const before = process.cpuUsage();
    for (let index = 0; index < CALLS; index += 1) {
      const call = calls[index % calls.length];
      if (call !== undefined) observe(call);
    }
    const { user, system } = process.cpuUsage(before);
    return (user + system) / CALLS;
  });
  return rounds.toSorted((one, other) => one - other)[Math.floor(ROUNDS / 2)] ?? Number.NaN;
}

/** Calls of many callers, until there is no room for another kind. */
function heapMib(): number {
  const full = new CallRecorder({ maxKinds: MAX_KINDS });
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  for (let index = 0; full.kinds < MAX_KINDS && index < 4 * MAX_KINDS; index += 1) {
    const source = `spiffe://example.org/ns/shop/sa/client-${index % 2_000}`;
    full.observe(decidedCall({ source, request: { target: `/api/v1/${'a'.repeat(40)}/thing-${index}a/items` } }));
  }
  collectGarbage();
  const grown = process.memoryUsage().heapUsed - before;
  // Looked at again, so that it is not garbage by now.
  return (grown / 2 ** 20) * (MAX_KINDS / full.kinds);
}

/** Node offers this on demand only. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc()');
}
