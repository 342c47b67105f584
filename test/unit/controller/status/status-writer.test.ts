import { expect, test } from 'vitest';
import { DeclaredObjects } from '../../../../controller/declared-objects.ts';
import { FederationIndex } from '../../../../controller/federation/federation-index.ts';
import { IdentityIndex } from '../../../../controller/identity/identity-index.ts';
import { statusOf } from '../../../../controller/status/status-of.ts';
import { StatusWriter, type Pace } from '../../../../controller/status/status-writer.ts';
import { CLUSTER_WORKLOAD_IDENTITY } from '../../../../crds/cluster-workload-identity.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { testSettings } from '../../../support/identity-world.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

function rig(pace?: Pace) {
  const clock = new ManualClock();
  const declared = new DeclaredObjects();
  const ref = { kind: 'ClusterWorkloadIdentity', namespace: '', name: 'web', uid: 'uid-web' };
  const key = 'ClusterWorkloadIdentity//web';
  const { type } = CLUSTER_WORKLOAD_IDENTITY;
  declared.put({ key, type, ref, generation: 1, isOurs: true, status: undefined, fault: undefined });
  const state = { busy: false, counting: false, writes: 0, figure: 0 };
  const settings = testSettings();
  const inputs = {
    index: new IdentityIndex(settings),
    entries: { failuresOf: () => [] },
    outage: () => undefined,
    federation: new FederationIndex(settings.trustDomain),
    relationships: { failureOf: () => undefined, isInForce: () => true },
    now: () => '2026-01-01T00:00:00Z',
  };
  const writer = new StatusWriter({
    statusOf: (object) => (pace === undefined ? statusOf(object, inputs) : { figure: state.figure }),
    declared,
    sink: {
      write() {
        state.writes += 1;
        return Promise.resolve();
      },
    },
    clock,
    log: createLogger({ level: 'fatal', name: 'test' }),
    isBusy: () => state.busy,
    isCounting: () => state.counting,
    ...(pace === undefined ? {} : { pace }),
  });
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 250) {
      clock.advance(250);
      await new Promise(setImmediate);
    }
  };
  const run = (): AbortController => {
    const stop = new AbortController();
    void writer.run(stop.signal);
    return stop;
  };
  const set = (figure: number): void => {
    state.figure = figure;
    writer.mark(key);
  };
  return { state, pass, run, set };
}

test('a status waits until the counts are whole, but not for ever', async () => {
  const { state, pass, run } = rig();
  state.counting = true;
  const stop = run();
  await pass(20_000);
  expect(state.writes).toBe(0);
  state.counting = false;
  await pass(500);
  expect(state.writes).toBe(1);
  stop.abort();
});

test('a status that is never whole is written all the same', async () => {
  const { state, pass, run } = rig();
  state.counting = true;
  const stop = run();
  await pass(31_000);
  expect(state.writes).toBe(1);
  stop.abort();
});

test('a status waits for entries for a few seconds', async () => {
  const { state, pass, run } = rig();
  state.busy = true;
  const stop = run();
  await pass(4_000);
  expect(state.writes).toBe(0);
  await pass(2_000);
  expect(state.writes).toBe(1);
  stop.abort();
});

test('figures rest for a while after each write, and the newest is written then; news is written at once', async () => {
  const isNews: Pace['isNews'] = (_before, { figure }) => Number(figure) >= 100;
  const { state, pass, run, set } = rig({ isNews, restMs: () => 5_000 });
  const stop = run();
  await pass(500);
  expect(state.writes).toBe(1);
  for (const figure of [1, 2, 3]) {
    set(figure);
    await pass(1_000);
  }
  expect(state.writes).toBe(1);
  set(100);
  await pass(500);
  expect(state.writes).toBe(2);
  set(4);
  await pass(4_000);
  expect(state.writes).toBe(2);
  await pass(1_500);
  expect(state.writes).toBe(3);
  stop.abort();
});
