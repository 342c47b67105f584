// Templates that take as much as they may, in a declaration that selects many pods.
import { expect, test } from 'vitest';
import { systemClock } from '../../../../core/clock.ts';
import { IdentityIndex } from '../../../../controller/identity/identity-index.ts';
import { Preview } from '../../../../controller/identity/preview.ts';
import { turn } from '../../../../controller/turns.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { clusterIdentity, teamIdentity, testNode, testPod, testSettings } from '../../../support/identity-world.ts';

const PODS = 300;
const TEAM = 'WorkloadIdentity/shop/costly';
const settings = testSettings();

function world(): IdentityIndex {
  const index = new IdentityIndex(settings);
  index.putNamespace('shop', { name: 'shop', labels: {} });
  index.putNode('n1', testNode('n1'));
  for (let count = 0; count < PODS; count += 1) index.putPod(`shop/p${count}`, testPod({ name: `p${count}` }));
  return index;
}

const costly = (steps: number, path = 'x') =>
  teamIdentity('shop', { name: 'costly', spec: { pathTemplate: `${path}{{ range ${steps} }}{{ end }}` } });
// What a definition of the cluster that is older than the limits may still hold.
const asStored = (count: number, steps: number) => ({
  ...costly(0),
  workloadSelectorTemplates: Array.from(
    { length: count },
    (_, number) => `k8s:container-name:a{{ range ${steps} }}{{ end }}${number}`,
  ),
});

/** What this thread has worked, in milliseconds: what other processes take from a busy machine does not count. */
function threadMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** Works everything off in turns, and tells the longest time that the event loop was held. */
async function longestTurnMs(index: IdentityIndex): Promise<number> {
  let longest = 0;
  for (let isMore = true; isMore;) {
    const startedMs = threadMs();
    isMore = index.settle(turn(systemClock));
    longest = Math.max(longest, threadMs() - startedMs);
    await new Promise((resolve) => void setImmediate(resolve));
  }
  return longest;
}

test.each([
  ['beyond the limit of an entry', asStored(64, 24_000)],
  ['just below it', asStored(64, 25)],
])('what takes too much holds up nothing: %s', async (_, declaration) => {
  const index = world();
  index.putDeclaration(
    clusterIdentity({ name: 'honest', spec: { spiffeIDTemplate: 'spiffe://example.org/{{ .PodMeta.Name }}' } }),
  );
  index.putDeclaration(declaration);
  expect(await longestTurnMs(index)).toBeLessThan(100);
  expect(index.stats('ClusterWorkloadIdentity//honest')?.entriesToSet).toBe(PODS);
  expect(index.stats(TEAM)).toMatchObject({ podsSelected: PODS, isSuspended: true });
});

test('a suspended declaration keeps its entries until it is changed', () => {
  const index = world();
  index.putDeclaration(costly(1));
  index.settle();
  expect(index.stats(TEAM)).toMatchObject({ entriesToSet: PODS, isSuspended: false });
  index.putDeclaration(costly(1_900, 'y'));
  index.settle();
  expect(index.stats(TEAM)).toMatchObject({ entriesToSet: PODS, podEntryRenderFailures: 0, isSuspended: true });
  index.putPod('shop/late', testPod({ name: 'late' }));
  index.settle();
  expect(index.problemsOfPod('shop/late')).toMatchObject([
    { reason: 'RenderFailed', message: expect.stringMatching(/^suspended: /) },
  ]);
  index.putDeclaration(costly(2));
  index.settle();
  expect(index.stats(TEAM)).toMatchObject({ entriesToSet: PODS + 1, podEntryRenderFailures: 0, isSuspended: false });
});

test('an operator may have templates that take much', () => {
  const index = world();
  const spiffeIDTemplate = 'spiffe://example.org/{{ .PodMeta.Name }}{{ range 1500 }}{{ end }}';
  index.putDeclaration(clusterIdentity({ name: 'large', spec: { spiffeIDTemplate } }));
  index.settle();
  expect(index.stats('ClusterWorkloadIdentity//large')).toMatchObject({ entriesToSet: PODS, isSuspended: false });
});

test('many reviews at one time leave the event loop to others', async () => {
  const index = world();
  index.settle();
  const preview = new Preview({ index, settings, clock: systemClock, readWhole: () => Promise.resolve(undefined) });
  const done = new AbortController();
  let longest = 0;
  const heart = (async () => {
    for (let lastMs = threadMs(); !done.signal.aborted; lastMs = threadMs()) {
      await new Promise((resolve) => void setImmediate(resolve));
      longest = Math.max(longest, threadMs() - lastMs);
    }
  })();
  const startedMs = performance.now();
  const runs = await Promise.all(
    Array.from({ length: 60 }, async (_, at) => preview.dryRun(asStored(64, at % 2 === 0 ? 24_000 : 25))),
  );
  done.abort();
  await heart;
  expect(longest).toBeLessThan(100);
  expect(performance.now() - startedMs).toBeLessThan(3_500);

  // What there was no time for is passed over, and that is told.
  const isAnswered = runs.map(({ problems, podsPassedOver }) => problems[0]?.reason === 'RenderFailed' || podsPassedOver > 0);
  expect(isAnswered).not.toContain(false);
});

test('a review does not wait for an API server that does not answer', async () => {
  const index = new IdentityIndex(settings);
  const clock = new ManualClock();
  index.putNamespace('shop', { name: 'shop', labels: {} });
  index.putNode('n1', testNode('n1'));
  index.putPod('shop/a', testPod({ name: 'a', trim: { metadata: new Set(), spec: new Set() } }));
  index.putPod('shop/b', testPod({ name: 'b', trim: { metadata: new Set(), spec: new Set() } }));
  const asked = Promise.withResolvers<void>();
  const readWhole = (): Promise<undefined> => {
    asked.resolve();
    return new Promise(() => {});
  };
  const running = new Preview({ index, settings, clock, readWhole }).dryRun(costly(1, '{{ .PodMeta.Name }}'));
  await asked.promise;
  clock.advance(1_000);
  expect(await running).toEqual({ problems: [], podsSelected: 2, podsPassedOver: 1 });
  expect(clock.timers).toBe(0);
});

test('a review ends in time, and says how many pods it passed over', async () => {
  const index = world();
  index.settle();
  const preview = new Preview({ index, settings, clock: systemClock, readWhole: () => Promise.resolve(undefined) });
  const run = await preview.dryRun(costly(1), AbortSignal.abort());
  expect(run).toEqual({ problems: [], podsSelected: PODS, podsPassedOver: PODS });
});
