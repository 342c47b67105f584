import { expect, test } from 'vitest';
import { EntryReconciler } from '../../../../controller/entries/entry-reconciler.ts';
import type { ActualEntry } from '../../../../controller/entries/entry-wire.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

/** A reconciler that wishes for nothing, and the entries at its CA. */
function rig(options: { readonly failOnce?: boolean } = {}) {
  let comparisons = 0;
  const clock = new ManualClock();
  const atCa = new Map<string, ActualEntry>();
  let fails = options.failOnce === true;
  const nothing = () => Promise.resolve([]);
  const entries = new EntryReconciler({
    desired: { desired: () => undefined, keys: () => [] },
    client: {
      async *list() {
        yield [...atCa.values()];
      },
      async *listRevisions() {
        comparisons += 1;
        if (fails) {
          fails = false;
          throw new IdentityError('unavailable', 'not now');
        }
        yield [...atCa.values()];
      },
      get: (id) => Promise.resolve(atCa.get(id)),
      create: nothing,
      update: nothing,
      delete: (ids) =>
        Promise.resolve(ids.map((id) => (atCa.delete(id) ? undefined : new IdentityError('not_found', 'entry not found')))),
    },
    prefix: 'main.',
    clock,
    log: createLogger({ level: 'fatal', name: 'test' }),
    driftCheckMs: 300_000,
    massDeletion: 'refuse',
    onFailures: () => {},
  });
  const arrive = (id: string): void => void atCa.set(id, { id, key: `key of ${id}`, fingerprint: '', revision: 1n });
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms);
    for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
  };
  return { entries, atCa, arrive, pass, comparisons: () => comparisons };
}

test('what a deposed leader still wrote is found soon after the term began', async () => {
  const { entries, atCa, arrive, pass } = rig();
  const stop = new AbortController();
  const running = entries.run(stop.signal);
  await pass(0);
  arrive('main.late');
  arrive('other.1');
  await pass(9_000);
  expect([...atCa.keys()]).toEqual(['main.late', 'other.1']);
  await pass(1_000);
  expect([...atCa.keys()]).toEqual(['other.1']);
  stop.abort();
  await running;
});

test('afterwards the comparison is as seldom as it is configured, also when it fails', async () => {
  const { entries, atCa, arrive, pass } = rig({ failOnce: true });
  const stop = new AbortController();
  const running = entries.run(stop.signal);
  await pass(0);
  await pass(10_000);
  arrive('main.later');
  await pass(299_000);
  expect(atCa.size).toBe(1);
  await pass(1_000);
  expect(atCa.size).toBe(0);
  stop.abort();
  await running;
});

test('many that nobody declares are kept and told, few are deleted', async () => {
  const { entries, atCa, arrive, pass } = rig();
  for (let index = 0; index < 11; index += 1) arrive(`main.${index}`);
  const stop = new AbortController();
  const running = entries.run(stop.signal);
  await pass(0);
  await pass(10_000);
  arrive('main.more');
  await pass(300_000);
  expect([atCa.size, entries.held.size, entries.queueLength]).toEqual([12, 12, 0]);
  // Whose they are has deleted them.
  atCa.clear();
  await pass(300_000);
  expect([entries.entryCount, entries.held.problem.value]).toEqual([0, undefined]);
  stop.abort();
  await running;
});

test('a deletion of what was gone already has all compared within a second', async () => {
  const { entries, atCa, arrive, pass, comparisons } = rig();
  const stop = new AbortController();
  arrive('main.1');
  const running = entries.run(stop.signal);
  // Listed, and deleted by somebody else before the reconciler does.
  await Promise.resolve();
  atCa.clear();
  await pass(0);
  expect(comparisons()).toBe(0);
  await pass(1_000);
  expect(comparisons()).toBe(1);
  // And no more often for that.
  await pass(200_000);
  expect(comparisons()).toBe(1);
  await pass(100_000);
  expect(comparisons()).toBe(2);
  stop.abort();
  await running;
});
