// A CA restart with 1,000 agents connected, all of which come back at once.
import { join } from 'node:path';

import { freePort } from '../support/free-port.ts';
import type { Figure } from './report.ts';
import { startCrowd, untilSynchronised } from './simulated-agents.ts';
import { createEntries, startCa } from './stacks.ts';

const AGENTS = 1_000;
const ENTRIES_EACH = 10;

/** Ours alone. */
export async function measureStorm(folder: string): Promise<Figure[]> {
  const own = join(folder, 'storm');
  const options = { port: await freePort(), keys: 'disk' } as const;
  const before = await startCa(own, options);
  await using crowd = await startCrowd(before, AGENTS);
  for (const parentId of crowd.ids) {
    await createEntries(before, { parentId, count: ENTRIES_EACH, selector: (index) => `unix:uid:${1000 + index}` });
  }
  await untilSynchronised(crowd);
  process.stderr.write(`  ${AGENTS} agents synchronised; the CA restarts\n`);
  await before[Symbol.asyncDispose]();
  crowd.reset();
  await using after = await startCa(own, options);
  const waitedMs = await untilSynchronised(crowd);
  const seconds = (after.startMs + waitedMs) / 1000;
  const note = `${AGENTS} agents with ${ENTRIES_EACH} entries each, from the start of the CA's process`;
  return [
    { section: 'storm', what: 'all agents synchronised again', unit: 's', countersign: seconds, target: { atMost: 30 }, note },
    { section: 'storm', what: 'full synchronisations', unit: '', countersign: crowd.counts.snapshots, target: { atMost: 0 } },
  ];
}
