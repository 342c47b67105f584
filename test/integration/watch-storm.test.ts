import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startRegistry } from '../../ca/registry/feed.ts';
import { openStore } from '../../ca/store/open.ts';
import { systemClock } from '../../core/clock.ts';
import { exampleOrg, idAt, newAgent, newEntry, selectorsOf } from '../support/entries.ts';
import { WatchClient, namesIn, serveWatches } from '../support/watch-rig.ts';

const AGENTS = 1000;
const SHARED_ENTRIES = 500;
const OWN_ENTRIES = 10;

test(`${AGENTS} agents that come back at once after a restart are told just what they lack`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-storm-'));
  const start = async () => {
    const resources = new AsyncDisposableStack();
    const store = resources.use(await openStore({ kind: 'sqlite', path: join(folder, 'store.db') }, { clock: systemClock }));
    const { registry } = resources.use(await startRegistry({ store, trustDomain: exampleOrg, clock: systemClock }));
    const server = resources.use(await serveWatches({ registry, clock: systemClock }));
    return { store, registry, path: server.path, [Symbol.asyncDispose]: () => resources.disposeAsync() };
  };
  const agentIds = Array.from({ length: AGENTS }, (_, index) => idAt(`/spire/agent/storm/${index}`));
  try {
    let ca = await start();
    await ca.store.mutate(async (tx) => {
      for (const id of agentIds) await tx.putAgent(newAgent({ id, selectors: selectorsOf('cluster:one') }));
      await tx.createEntry(
        newEntry({ parentId: idAt('/spire/server'), spiffeId: idAt('/nodes'), selectors: selectorsOf('cluster:one') }),
      );
      const shared = Array.from({ length: SHARED_ENTRIES }, (_, index) =>
        newEntry({ id: `shared-${index}`, parentId: idAt('/nodes'), spiffeId: idAt(`/shared/${index}`) }),
      );
      const own = agentIds.flatMap((parentId, agent) =>
        Array.from({ length: OWN_ENTRIES }, (_, index) =>
          newEntry({ id: `own-${agent}-${index}`, parentId, spiffeId: idAt(`/own/${agent}/${index}`) }),
        ),
      );
      await tx.createEntries([...shared, ...own]);
    });
    await ca.registry.waitFor(await ca.store.headRevision());

    const positions = await Promise.all(
      agentIds.map(async (id) => {
        using client = WatchClient.subscribe(ca.path, id.toString());
        const parts = await client.answer();
        expect(namesIn(parts)).toHaveLength(1 + SHARED_ENTRIES + OWN_ENTRIES);
        const { feedId = '', revision: resumeRevision = 0n } = parts.at(-1) ?? {};
        return { feedId, resumeRevision };
      }),
    );

    // Meanwhile: agent 7 loses an entry, all get a changed one, and one was moved from agent 8 to agent 9.
    await ca.store.mutate((tx) => tx.deleteEntry('own-7-0'));
    await ca.store.mutate((tx) => tx.updateEntry('shared-3', { hint: 'changed' }));
    await ca.store.mutate((tx) => tx.updateEntry('own-8-1', { parentId: agentIds[9] ?? idAt('/') }));
    await ca[Symbol.asyncDispose]();
    ca = await start();

    const startMs = performance.now();
    const clients = agentIds.map((id, index) => WatchClient.subscribe(ca.path, id.toString(), positions[index]));
    const answers = await Promise.all(clients.map((client) => client.answer()));
    const tookMs = performance.now() - startMs;
    console.log(`${AGENTS} agents synchronised ${Math.round(tookMs)} ms after they reconnected at once`);
    expect(answers.filter((parts) => parts.some(({ snapshot }) => snapshot))).toHaveLength(0);
    const named = answers.map(namesIn);
    expect(named[0]).toEqual(['entry shared-3']);
    expect(named[7]).toEqual(['entry shared-3', 'entry own-7-0 removed']);
    expect(named[8]).toEqual(['entry shared-3', 'entry own-8-1 removed']);
    expect(named[9]?.toSorted()).toEqual(['entry own-8-1', 'entry shared-3']);
    expect(named.filter((names) => names.length === 1)).toHaveLength(AGENTS - 3);
    expect(tookMs).toBeLessThan(30_000);

    // And all are in touch: one change of what they share reaches every one.
    const pushedMs = performance.now();
    const pushes = Promise.all(clients.map((client) => client.answer()));
    await ca.store.mutate((tx) => tx.updateEntry('shared-4', { hint: 'pushed' }));
    expect((await pushes).map(namesIn)).toEqual(agentIds.map(() => ['entry shared-4']));
    console.log(`a change reached ${AGENTS} agents in ${Math.round(performance.now() - pushedMs)} ms`);
    for (const client of clients) client[Symbol.dispose]();
    await ca[Symbol.asyncDispose]();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
