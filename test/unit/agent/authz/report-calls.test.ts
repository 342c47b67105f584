import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { CallRecorder } from '../../../../agent/authz/call-recorder.ts';
import { CallReporter } from '../../../../agent/authz/report-calls.ts';
import { systemClock } from '../../../../core/clock.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { Recording, type ReportCallsRequest } from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { connectGrpc, type GrpcConnection } from '../../../../runtime/grpc-client.ts';
import { GrpcServer } from '../../../../runtime/grpc/server.ts';
import { listenUnix } from '../../../../runtime/grpc/unix-listener.ts';
import { decidedCall, ORDERS } from '../../../support/decided-calls.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const INTERVAL_MS = 10_000;
let resources: AsyncDisposableStack;
let clock: ManualClock;
let recorder: CallRecorder;
let reporter: CallReporter;
let logged: string[];
/** What the CA got, taken or not, and what it fails with. */
let got: ReportCallsRequest[];
let failure: IdentityError | undefined;
/** Callers of calls that the CA cannot take, and those whose calls it took. */
let bad: (source: string) => boolean;
let taken: string[];

/** A CA with the service, or one that does not know it. */
async function startCa(knowsRecording = true): Promise<GrpcConnection> {
  const folder = mkdtempSync(join(tmpdir(), 'report-calls-'));
  resources.defer(() => rmSync(folder, { recursive: true, force: true }));
  const server = new GrpcServer<undefined>({});
  if (knowsRecording) {
    server.addService(Recording, {
      reportCalls: (request) => {
        got.push(request);
        if (failure !== undefined) throw failure;
        const sources = request.calls.map(({ sourceSpiffeId }) => sourceSpiffeId);
        if (sources.some(bad)) throw new IdentityError('invalid_argument', 'no', { field: 'calls[0].verdict' });
        taken.push(...sources);
        return {};
      },
    });
  }
  resources.defer(() => server.close({ graceMs: 0 }));
  const listener = resources.use(await listenUnix(server, join(folder, 'ca.sock'), { mode: 0o600, onAccept: () => undefined }));
  return resources.use(connectGrpc({ target: { kind: 'unix', path: listener.path }, clock: systemClock }));
}

function report(connection: GrpcConnection, maxKinds = 10_000): void {
  recorder = new CallRecorder({ maxKinds });
  const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
  reporter = new CallReporter({ recorder, connection, clock, log, intervalMs: INTERVAL_MS });
  const stop = new AbortController();
  const running = reporter.run(stop.signal).catch(() => {});
  resources.defer(async () => {
    stop.abort();
    await running;
  });
}

/** Lets time pass until something holds. */
async function until(holds: () => boolean, stepMs = 1_000): Promise<void> {
  for (const startMs = performance.now(); !holds();) {
    if (performance.now() - startMs > 10_000) throw new Error(`it did not come: ${logged.join('')}`);
    clock.advance(stepMs);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

beforeEach(() => {
  resources = new AsyncDisposableStack();
  clock = new ManualClock();
  got = [];
  logged = [];
  failure = undefined;
  bad = () => false;
  taken = [];
});
afterEach(async () => {
  vi.restoreAllMocks();
  await resources.disposeAsync();
});

const total = (requests: readonly ReportCallsRequest[]): number =>
  requests.flatMap(({ calls }) => calls).reduce((sum, { count }) => sum + Number(count), 0);

test('reports what was counted, and then only what is new', async () => {
  report(await startCa());
  for (let index = 0; index < 5; index += 1) recorder.observe(decidedCall());
  await until(() => got.length === 1);
  expect(got[0]?.calls.map(({ count, destination }) => [count, destination?.spiffeId])).toEqual([
    [5n, 'spiffe://example.org/orders'],
  ]);
  await until(() => reporter.status.waiting === 0);
  clock.advance(5 * INTERVAL_MS);
  recorder.observe(decidedCall());
  await until(() => got.length === 2);
  expect(total(got)).toBe(6);
  expect(got[0]?.batchId).not.toBe(got[1]?.batchId);
});

test('what could not be reported is sent again as it was, under its ID; meanwhile counting goes on', async () => {
  report(await startCa());
  failure = new IdentityError('unavailable', 'the store is away');
  recorder.observe(decidedCall({ atMs: 7 }));
  await until(() => got.length === 3);
  recorder.observe(decidedCall());
  expect(reporter.status).toEqual({ waiting: 2, refused: 0, oldestMs: 7 });
  failure = undefined;
  await until(() => got.length === 5);
  expect(new Set(got.slice(0, 4).map(({ batchId }) => batchId)).size).toBe(1);
  expect(total(got.slice(3))).toBe(2);
});

test('while the CA is away, memory is bounded by twice the kinds', async () => {
  report(await startCa(), 100);
  failure = new IdentityError('unavailable', 'away');
  for (let round = 0; round < 5; round += 1) {
    for (let index = 0; index < 500; index += 1)
      recorder.observe(decidedCall({ source: `spiffe://example.org/${round}-${index}` }));
    await until(() => got.length > round);
  }
  expect(reporter.status.waiting).toBeLessThanOrEqual(200);
});

test('a CA without the service is not asked again before the next connection, and nothing is logged about it', async () => {
  report(await startCa(false));
  recorder.observe(decidedCall());
  await until(() => logged.length > 0);
  expect(logged.map((line) => /"level":(\d+)/.exec(line)?.[1])).toEqual(['20']);
  for (let index = 0; index < 100; index += 1) {
    clock.advance(INTERVAL_MS);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(logged.length).toBe(1);
  reporter.onConnected();
  await until(() => logged.length === 2);
});

test('what the CA can never take is given up, told and counted; the rest goes on', async () => {
  report(await startCa());
  failure = new IdentityError('invalid_argument', 'calls[0].verdict: must be "allow" or "deny"');
  recorder.observe(decidedCall());
  await until(() => reporter.status.refused === 1);
  expect(logged.join('')).toContain('recorded calls given up');
  failure = undefined;
  recorder.observe(decidedCall());
  await until(() => got.length === 2);
});

/** Calls of so many callers, and their names. */
function observeCallers(count: number): readonly string[] {
  const sources = Array.from({ length: count }, (_, index) => `spiffe://example.org/caller-${index}`);
  for (const source of sources) recorder.observe(decidedCall({ source }));
  return sources;
}

test('calls that the CA can never take are given up alone: the others of their batch are taken, once', async () => {
  report(await startCa());
  const sources = observeCallers(300);
  bad = (source) => source.endsWith('-17') || source.endsWith('-299');
  await until(() => got.length > 0);
  await until(() => reporter.status.waiting === 0);
  expect(taken.toSorted()).toEqual(sources.filter((source) => !bad(source)).toSorted());
  expect(reporter.status.refused).toBe(2);
  expect(got.length).toBeLessThan(40);
  expect(new Set(got.map(({ batchId }) => batchId)).size).toBe(got.length);
});

test('a part of a batch is sent again as it was where the CA is away in between', async () => {
  report(await startCa());
  observeCallers(4);
  let away = 3;
  bad = (source) => {
    if (source.endsWith('-2') && away-- > 0) throw new IdentityError('unavailable', 'away');
    return source.endsWith('-0');
  };
  await until(() => taken.length === 3);
  const ids = got.map(({ batchId }) => batchId);
  expect([ids.length, new Set(ids).size, new Set(ids.slice(-4)).size]).toEqual([8, 5, 1]);
  await until(() => reporter.status.waiting === 0);
  expect(reporter.status.refused).toBe(1);
});

test('a CA that can take nothing is not asked about each call, and one line tells of it', async () => {
  report(await startCa());
  observeCallers(1_000);
  bad = () => true;
  await until(() => reporter.status.refused === 1_000);
  expect(got.length).toBeLessThan(100);
  expect(logged.filter((line) => line.includes('"level":40')).length).toBe(1);
});

test('a CA that is back is reported to within seconds, however long it was away', async () => {
  // The longest pauses that jitter can make.
  vi.spyOn(Math, 'random').mockReturnValue(0.999);
  report(await startCa());
  failure = new IdentityError('unavailable', 'away');
  recorder.observe(decidedCall());
  await until(() => logged.filter((line) => line.includes('not reported yet')).length === 9);
  failure = undefined;
  const [sinceMs, asked] = [clock.monotonicMs(), got.length];
  reporter.onConnected();
  await until(() => got.length > asked, 250);
  expect(clock.monotonicMs() - sinceMs).toBeLessThanOrEqual(6_000);
  await until(() => reporter.status.waiting === 0, 1);
});

test('many kinds go in parts that a server takes', async () => {
  report(await startCa());
  const selectors = new Set(Array.from({ length: 60 }, (_, index) => `k8s:pod-label:label-${index}:${'v'.repeat(60)}`));
  const destination = { ...ORDERS, selectors };
  for (let index = 0; index < 3_000; index += 1) {
    recorder.observe(decidedCall({ destination, source: `spiffe://example.org/${index}` }));
  }
  await until(() => total(got) === 3_000);
  expect(new Set(got.map(({ batchId }) => batchId)).size).toBe(got.length);
  expect(got.length).toBeGreaterThan(10);
});

test('a stop reports what is left', async () => {
  report(await startCa());
  recorder.observe(decidedCall());
  await reporter.close();
  expect([got.length, reporter.status.waiting]).toEqual([1, 0]);
  await reporter.close();
  expect(got.length).toBe(1);
});

test('a stop says nothing of a CA without the service', async () => {
  report(await startCa(false));
  recorder.observe(decidedCall());
  await reporter.close();
  expect(logged.join('')).not.toContain('"level":40');
});

test('a stop does not wait for a CA that is away', async () => {
  report(await startCa());
  failure = new IdentityError('unavailable', 'away');
  recorder.observe(decidedCall());
  await reporter.close();
  expect(logged.join('')).toContain('recorded calls are lost');
});
