import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { SeenCalls } from '../../../../ca/calls/call-kind.ts';
import { RecalledCalls } from '../../../../ca/calls/recorded-calls.ts';
import { CallRecording } from '../../../../ca/calls/recording.ts';
import { openStore } from '../../../../ca/store/open.ts';
import type { Store } from '../../../../ca/store/store.ts';
import { systemClock } from '../../../../core/clock.ts';
import { parsePolicy } from '../../../../policy/parse-policy.ts';
import { encodePolicy } from '../../../../policy/wire-policy.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { authz, cluster } from '../../../support/policy/policy-objects.ts';
import { callKind, pathsAndCounts, seen } from '../../../support/recorded-kinds.ts';

const KINDS = 1500;
const POLICIES = 1000;

let store: Store;
let recording: CallRecording;
beforeEach(async () => {
  store = await openStore({ kind: 'sqlite', path: ':memory:' }, { clock: systemClock });
  const rules = [{ from: [{ serviceAccounts: ['web'] }] }];
  const documents = Array.from({ length: POLICIES }, (_, index) => {
    const targetRefs = [{ kind: 'ServiceAccount', name: `app-${index % 50}` }];
    const policy = parsePolicy(authz(`shop/p-${index}`, { targetRefs, rules }));
    return { ...policy.name, document: encodePolicy(policy) };
  });
  recording = new CallRecording({
    store: store.calls,
    documents: { lastRevision: 1, list: () => documents },
    metadataOf: () => undefined,
    defaultAction: 'audit',
    keepMs: 86_400_000,
    clock: systemClock,
    log: createLogger({ level: 'fatal', name: 'test' }),
  });
});
afterEach(async () => {
  await recording[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
});

/** Milliseconds of this thread's own time that the longest turn of the event loop took while something ran. */
async function longestTurnMs(work: () => Promise<unknown>): Promise<number> {
  const spentMs = (): number => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1000;
  };
  let [last, longest] = [spentMs(), 0];
  const note = (): void => {
    const now = spentMs();
    longest = Math.max(longest, now - last);
    last = now;
  };
  let next = setImmediate(function count() {
    note();
    next = setImmediate(count);
  });
  await work();
  note();
  clearImmediate(next);
  return longest;
}

describe('many recorded calls and policies', () => {
  const calls: readonly SeenCalls[] = Array.from({ length: KINDS }, (_, index) =>
    seen(callKind({ to: `app-${index % 50}`, path: `/${index}` }), 1, Date.now()),
  );
  const shut = parsePolicy(cluster('shut', { action: 'DENY', rules: [{ from: [{ serviceAccounts: ['shop/web'] }] }] }));
  const simulate = () => recording.simulation.simulate({ set: [shut], deleted: [], countsDryRun: false, sinceMs: 0, limit: 10 });

  test('are judged in short turns of the event loop', async () => {
    await store.calls.add([{ agentId: 'a', batchId: 'b', calls }], Date.now());
    const result = await simulate();
    expect(result).toMatchObject({ kinds: KINDS, denied: KINDS, isHarmless: false });
    expect(result.changes).toHaveLength(10);
    // The second time nothing is compiled for the first time: by the machine, not by the engine.
    expect(await longestTurnMs(simulate)).toBeLessThan(80);
  });

  test('are written in short turns, and registrations go on between', async () => {
    const perReport = calls.length / 10;
    const reports = Array.from({ length: 10 }, (_, index) => calls.slice(index * perReport, (index + 1) * perReport));
    let registrations = 0;
    const stop = new AbortController();
    const register = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        await store.mutate((tx) => tx.createJoinToken(String((registrations += 1)), 4e9));
        await new Promise((resolve) => void setImmediate(resolve));
      }
    };
    const registering = register();
    const longest = await longestTurnMs(() =>
      Promise.all(reports.map((own, index) => recording.record({ agentId: 'a', batchId: String(index), calls: own }))),
    );
    stop.abort();
    await registering;
    expect(longest).toBeLessThan(80);
    expect(registrations).toBeGreaterThan(5);
    expect((await Array.fromAsync(store.calls.list({ sinceMs: 0 }))).flat()).toHaveLength(KINDS);
  });
});

test('equal calls of which some were allowed and the last denied are one, and say so, with the rules that decided', () => {
  const rule = (index: number) => ({
    policy: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a' } as const,
    rule: index,
  });
  const all = new RecalledCalls();
  all.add(seen(callKind({ reason: 'allowed_by_rule', rule: rule(0) }), 1, 1_000));
  all.add(seen(callKind({ reason: 'allowed_by_rule', rule: rule(1) }), 1, 2_000));
  expect([...all.values()].map(({ isMixed }) => isMixed)).toEqual([false]);
  all.add(seen(callKind({ verdict: 'deny', reason: 'no_rule_matches' }), 1, 3_000));
  const decidedBy = [rule(0), rule(1)];
  expect([...all.values()]).toMatchObject([{ count: 3, kind: { verdict: 'deny' }, isMixed: true, decidedBy }]);
});

test('calls of two releases are told once', async () => {
  const { destination } = callKind({ to: 'app-1' });
  const calls = ['1', '2'].map((tag) => {
    const selectors = [...destination.selectors, `k8s:pod-label:release:${tag}`];
    return seen(callKind({ destination: { ...destination, selectors } }), 2, Date.now());
  });
  await store.calls.add([{ agentId: 'a', batchId: 'b', calls }], Date.now());
  const shut = parsePolicy(cluster('shut', { action: 'DENY', rules: [{ from: [{ serviceAccounts: ['shop/web'] }] }] }));
  const result = await recording.simulation.simulate({ set: [shut], deleted: [], countsDryRun: false, sinceMs: 0, limit: 10 });
  expect(result).toMatchObject({ kinds: 2, denied: 1, isHarmless: false, changes: [{ counted: { count: 4 } }] });
});

test('a store that is away is said so, and the same batch counts once afterwards', async () => {
  const once = { agentId: 'a', batchId: 'b', calls: [seen(callKind(), 1, Date.now())] };
  const add = store.calls.add.bind(store.calls);
  let isAway = true;
  store.calls.add = async (...args) => {
    const added = await add(...args);
    // The worst moment: it was stored, and nobody learned of it.
    if (isAway) throw new Error('store away');
    return added;
  };
  await expect(recording.record(once)).rejects.toThrow('store away');
  isAway = false;
  await recording.record(once);
  expect((await Array.fromAsync(store.calls.list({ sinceMs: 0 }))).flat()).toMatchObject([{ count: 1 }]);
});

test('what waits when the CA stops is stored', async () => {
  const waiting = recording.record({ agentId: 'a', batchId: 'b', calls: [seen(callKind(), 2, Date.now())] });
  // Its calls are being placed.
  await new Promise((resolve) => void setImmediate(resolve));
  await recording[Symbol.asyncDispose]();
  await waiting;
  expect((await Array.fromAsync(store.calls.list({ sinceMs: 0 }))).flat()).toMatchObject([{ count: 2 }]);
  await expect(recording.record({ agentId: 'a', batchId: 'c', calls: [] })).rejects.toMatchObject({ code: 'unavailable' });
});

test('what is older than is kept goes by itself, and an agent that comes late tells of the oldest hour that is kept', async () => {
  const clock = new ManualClock();
  const keepMs = 3 * 3_600_000;
  await using own = new CallRecording({
    store: store.calls,
    documents: { lastRevision: 1, list: () => [] },
    metadataOf: () => undefined,
    defaultAction: 'audit',
    keepMs,
    clock,
    log: createLogger({ level: 'fatal', name: 'test' }),
  });
  const report = async (batchId: string, lastSeenAtMs: number): Promise<void> => {
    const recorded = own.record({ agentId: 'a', batchId, calls: [seen(callKind({ path: `/${batchId}` }), 1, lastSeenAtMs)] });
    await vi.waitFor(() => expect(clock.timers).toBe(2));
    clock.advance(100);
    await recorded;
  };
  const paths = async () => pathsAndCounts((await Array.fromAsync(store.calls.list({ sinceMs: 0 }))).flat());
  await report('late', 0);
  await report('now', clock.nowMs());
  expect(await paths()).toEqual([
    ['/late', 1],
    ['/now', 1],
  ]);
  const eventually = (expected: Awaited<ReturnType<typeof paths>>): Promise<void> =>
    vi.waitFor(async () => {
      clock.advance(600_000);
      expect(await paths()).toEqual(expected);
    });
  await eventually([['/now', 1]]);
  await eventually([]);
});
