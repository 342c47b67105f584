import { expect, test } from 'vitest';
import type { PodRecord, Problem } from '../../../../controller/ports.ts';
import { PodProblems } from '../../../../controller/status/pod-problems.ts';
import { testPod } from '../../../support/identity-world.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

function rig() {
  const clock = new ManualClock();
  const pods = new Map<string, PodRecord>();
  const problems = new Map<string, readonly Problem[]>();
  const told: string[] = [];
  const all = new PodProblems({
    index: { pod: (key) => pods.get(key), problemsOfPod: (key) => problems.get(key) ?? [] },
    clock,
    tell: ({ name }, { reason }) => void told.push(`${name} ${reason}`),
  });
  const stop = new AbortController();
  void all.run(stop.signal);
  const put = (name: string, ...reasons: readonly string[]): void => {
    pods.set(`shop/${name}`, testPod({ name }));
    problems.set(
      `shop/${name}`,
      reasons.map((reason) => ({ reason, message: reason, pod: `shop/${name}` })),
    );
    all.mark([`shop/${name}`]);
  };
  const pass = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second += 1) {
      clock.advance(1_000);
      await Promise.resolve();
      await Promise.resolve();
      await Promise.resolve();
    }
  };
  return { put, pass, told, pods, all, stop, clock };
}

test('each reason is told once, and again when it came back', async () => {
  const { put, pass, told, stop } = rig();
  put('a', 'RenderFailed');
  await pass(2);
  put('a', 'RenderFailed');
  await pass(2);
  expect(told).toEqual(['a RenderFailed']);
  put('a');
  await pass(2);
  put('a', 'RenderFailed', 'Masked');
  await pass(2);
  expect(told).toEqual(['a RenderFailed', 'a RenderFailed', 'a Masked']);
  stop.abort();
});

test('that a pod is on no node is told when it lasts', async () => {
  const { put, pass, told, stop } = rig();
  put('a', 'NotScheduled');
  put('b', 'NotScheduled');
  await pass(20);
  put('b');
  await pass(15);
  expect(told).toEqual(['a NotScheduled']);
  await pass(60);
  expect(told).toEqual(['a NotScheduled']);
  stop.abort();
});

test('a pod that is gone is forgotten', async () => {
  const { put, pass, told, pods, all, stop } = rig();
  put('a', 'NotScheduled');
  await pass(5);
  pods.delete('shop/a');
  all.mark(['shop/a']);
  await pass(60);
  expect(told).toEqual([]);
  stop.abort();
});

test('nothing wakes while nothing changed; one timer stands for all pods that wait', async () => {
  const { put, pass, told, clock, stop } = rig();
  await pass(2);
  expect(clock.timers).toBe(0);
  put('a', 'NotScheduled');
  put('b', 'NotScheduled');
  await pass(3);
  expect(clock.timers).toBe(1);
  await pass(35);
  expect(told).toEqual(['a NotScheduled', 'b NotScheduled']);
  expect(clock.timers).toBe(0);
  stop.abort();
});
