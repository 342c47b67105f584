import { afterEach, beforeEach, expect, test } from 'vitest';
import { Pace } from '../../../../ca/policies/pace.ts';
import { PolicyProgress } from '../../../../ca/policies/progress.ts';
import { PolicyStatuses } from '../../../../ca/policies/statuses.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { idAt, newAgent, newEntry, selectorsOf } from '../../../support/entries.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { policyResource } from '../../../support/policies.ts';
import { RegistryRig } from '../../../support/registry-rig.ts';

const agentId = idAt('/spire/agent/one');
const KEY = 'AuthorizationPolicy/shop/one';
const log = createLogger({ level: 'fatal', name: 'test' });

let rig: RegistryRig;
let progress: PolicyProgress;
let statuses: PolicyStatuses;
/** Times at which statuses were told, and how many nodes enforced {@link KEY} then. */
let told: { readonly atMs: number; readonly programmed: number | undefined }[];
const stop = new AbortController();
let looks = 0;

beforeEach(async () => {
  rig = await RegistryRig.start();
  const { clock, registry, store } = rig;
  progress = new PolicyProgress({ store, registry, clock, log });
  looks = 0;
  const counts = { since: () => ((looks += 1), Promise.resolve(new Map())) };
  statuses = new PolicyStatuses({ registry, progress, counts, clock, log });
  await rig.mutate(async (tx) => {
    await tx.putAgent(newAgent({ id: agentId }));
    await tx.createEntry(newEntry({ parentId: agentId, spiffeId: idAt('/web'), selectors: selectorsOf('k8s:ns:shop') }));
  });
  told = [];
  void follow();
  await pass(2_000);
  told = [];
  looks = 0;
});
afterEach(async () => {
  statuses[Symbol.dispose]();
  await progress[Symbol.asyncDispose]();
  await rig[Symbol.asyncDispose]();
});

async function follow(): Promise<void> {
  for await (const found of statuses.watch(stop.signal)) {
    told.push({ atMs: rig.clock.monotonicMs(), programmed: found.get(KEY)?.nodesProgrammed });
  }
}

/** Lets time pass in small steps, and what each begins come to its end. */
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 10) {
    rig.clock.advance(10);
    for (let turns = 0; turns < 5; turns += 1) await new Promise((resolve) => void setImmediate(resolve));
  }
}

async function put(generation: number): Promise<number> {
  await rig.mutate((tx) => tx.putPolicies([policyResource(KEY, { generation })]));
  return rig.registry.revision;
}

const acknowledge = (revision: number): void => progress.note(agentId, { revision, refused: {}, isFresh: false });

test('after a quiet second a change is told within 50 ms, and what agents acknowledge then within 300 ms', async () => {
  const beganMs = rig.clock.monotonicMs();
  const revision = await put(1);
  await pass(50);
  expect(told.map(({ programmed }) => programmed)).toEqual([0]);
  await pass(20);
  acknowledge(revision);
  await pass(230);
  expect(told.map(({ programmed }) => programmed)).toEqual([0, 1]);
  expect((told.at(-1)?.atMs ?? Infinity) - beganMs).toBeLessThan(300);
});

test('what is acknowledged while the first look waits goes with it', async () => {
  const revision = await put(1);
  await pass(30);
  acknowledge(revision);
  await pass(20);
  expect(told.map(({ programmed }) => programmed)).toEqual([1]);
});

test('while changes go on, about one look a second', async () => {
  for (let generation = 1; generation <= 200; generation += 1) {
    await put(generation);
    await pass(100);
  }
  // Twenty seconds: the looks of before, and three of the first second.
  expect(looks).toBeGreaterThanOrEqual(18);
  expect(looks).toBeLessThanOrEqual(24);
  await pass(1_100);
  expect(told.at(-1)?.programmed).toBe(0);
});

test('a pause is four times as long as what was done before it, and a second at most', () => {
  const clock = new ManualClock();
  const pace = new Pace(clock);
  const pauses = [10, 40, 40, 400, 10].map((tookMs) => {
    pace.waits();
    pace.begins();
    clock.advance(tookMs);
    return pace.ended();
  });
  expect(pauses).toEqual([100, 200, 400, 1000, 1000]);
  pace.waits();
  clock.advance(1000);
  pace.begins();
  clock.advance(50);
  expect(pace.ended()).toBe(200);
});
