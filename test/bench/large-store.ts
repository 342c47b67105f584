// 100,000 entries: memory of the CA, and how long it takes to start.
import { join } from 'node:path';

import { systemClock } from '../../core/clock.ts';
import { residentMib } from './daemon.ts';
import type { Figure } from './report.ts';
import { createEntries, startCa } from './stacks.ts';

const ENTRIES = 100_000;
const PARENTS = 100;

/** Ours alone: SPIRE needs minutes to register as many. */
export async function measureLargeStore(folder: string): Promise<Figure[]> {
  const own = join(folder, 'large');
  const created = await fill(own);
  await using restarted = await startCa(own);
  const section = 'scale';
  const what = '100,000 entries: ';
  return [
    { section, what: `${what}created a second`, unit: '/s', countersign: created.rate, target: { atLeast: 5000 } },
    { section, what: `${what}CA that made them`, unit: 'MiB', countersign: created.mib, target: { atMost: 400 } },
    { section, what: `${what}CA after a restart`, unit: 'MiB', countersign: residentMib(restarted.pid), target: { atMost: 400 } },
    { section, what: `${what}start to serving`, unit: 's', countersign: restarted.startMs / 1000, target: { atMost: 5 } },
  ];
}

async function fill(folder: string): Promise<{ readonly rate: number; readonly mib: number }> {
  await using server = await startCa(folder);
  const startedMs = systemClock.monotonicMs();
  for (let parent = 0; parent < PARENTS; parent += 1) {
    const parentId = `spiffe://example.org/spire/agent/join_token/large-${parent}`;
    await createEntries(server, { parentId, count: ENTRIES / PARENTS, selector: (index) => `unix:uid:${1000 + index}` });
  }
  const seconds = (systemClock.monotonicMs() - startedMs) / 1000;
  process.stderr.write(`  ${ENTRIES} entries in ${seconds.toFixed(1)} s\n`);
  return { rate: ENTRIES / seconds, mib: residentMib(server.pid) };
}
