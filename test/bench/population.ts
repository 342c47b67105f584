// 10,000 entries: how fast a change arrives, what doing nothing costs, and the memory of an agent with 1,000 SVIDs.
import { join } from 'node:path';

import { sleep, systemClock } from '../../core/clock.ts';
import { cpuSeconds, residentMib } from './daemon.ts';
import { runLoad, type PropagationResult } from './load.ts';
import type { Figure } from './report.ts';
import { startCrowd, untilSynchronised } from './simulated-agents.ts';
import { createEntries, type Agent, type Server, type Stack } from './stacks.ts';

const ENTRIES = 10_000;
const AGENT_ENTRIES = 1_000;
const AGENTS = 100;
const IDLE_SECONDS = 30;
const SETTLE_MS = 20_000;

interface Population {
  readonly propagation: PropagationResult;
  readonly agentMib: number;
  readonly idle: { readonly server: number; readonly agent: number };
}

/** Both systems, one after the other. */
export async function measurePopulation(stacks: readonly Stack[], folder: string): Promise<Figure[]> {
  const ours = new Map<string, Population>();
  for (const stack of stacks) {
    process.stderr.write(`  ${stack.name}: ${ENTRIES} entries\n`);
    ours.set(stack.name, await populate(stack, join(folder, `population-${stack.name}`)));
  }
  const note = `${ENTRIES} entries, ${AGENTS} agents; SPIRE with one agent`;
  const figure = (what: string, unit: string, atMost: number, read: (population: Population) => number): Figure => {
    const [countersign, spire] = ['countersign', 'spire'].map((name) => ours.get(name)).map((each) => each && read(each));
    const peer = spire === undefined ? {} : { spire };
    return { section: 'scale', what, unit, countersign: countersign ?? 0, ...peer, lessIsBetter: true, target: { atMost } };
  };
  return [
    { ...figure('entry to client, median', 'ms', 100, ({ propagation }) => propagation.p50Ms), note },
    { ...figure('entry to client, 99th percentile', 'ms', 250, ({ propagation }) => propagation.p99Ms), note },
    figure('removal to client, median', 'ms', 100, ({ propagation }) => propagation.removalP50Ms),
    figure('removal to client, 99th percentile', 'ms', 250, ({ propagation }) => propagation.removalP99Ms),
    figure('memory of an agent with 1,000 SVIDs', 'MiB', 120, ({ agentMib }) => agentMib),
    figure('idle server, share of a core', '%', 0.5, ({ idle }) => idle.server),
    figure('idle agent, share of a core', '%', 0.5, ({ idle }) => idle.agent),
  ];
}

async function populate(stack: Stack, folder: string): Promise<Population> {
  await using server = await stack.startServer(join(folder, 'server'));
  await using agent = await stack.startAgent(join(folder, 'agent'), server);
  // Selectors that no process here has, but for the client's own entries.
  const selector = (index: number): string => `unix:uid:${1_000_000 + index}`;
  await createEntries(server, { parentId: agent.id, count: AGENT_ENTRIES, selector });
  const propagation = stack.name === 'countersign' ? await amongMany(server, agent) : await aloneWithEntries(server, agent);
  await sleep(systemClock, SETTLE_MS);
  const agentMib = residentMib(agent.pid);
  process.stderr.write(`  ${stack.name}: p50 ${propagation.p50Ms} ms, agent ${agentMib.toFixed(0)} MiB; now idle\n`);
  return { propagation, agentMib, idle: await measureIdle(server, agent) };
}

async function amongMany(server: Server, agent: Agent): Promise<PropagationResult> {
  await using crowd = await startCrowd(server, AGENTS - 1);
  const each = Math.ceil((ENTRIES - AGENT_ENTRIES) / crowd.ids.length);
  for (const parentId of crowd.ids) {
    await createEntries(server, { parentId, count: each, selector: (index) => `unix:uid:${2_000_000 + index}` });
  }
  await untilSynchronised(crowd);
  return await runLoad<PropagationResult>({ name: 'propagation', server, agent, operations: 200 });
}

async function aloneWithEntries(server: Server, agent: Agent): Promise<PropagationResult> {
  const parentId = 'spiffe://example.org/spire/agent/join_token/elsewhere';
  await createEntries(server, { parentId, count: ENTRIES - AGENT_ENTRIES, selector: (index) => `unix:uid:${2_000_000 + index}` });
  return runLoad<PropagationResult>({ name: 'propagation', server, agent, operations: 6 });
}

async function measureIdle(server: Server, agent: Agent): Promise<Population['idle']> {
  const before = [server, agent].map(({ pid }) => cpuSeconds(pid));
  await sleep(systemClock, IDLE_SECONDS * 1000);
  const [ofServer = 0, ofAgent = 0] = [server, agent].map(
    ({ pid }, index) => ((cpuSeconds(pid) - (before[index] ?? 0)) / IDLE_SECONDS) * 100,
  );
  return { server: ofServer, agent: ofAgent };
}
