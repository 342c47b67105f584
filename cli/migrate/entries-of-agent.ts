import type { Agent } from '../../proto/gen/spire/api/types/agent_pb.ts';
import { formatWireId } from '../entry-fields.ts';
import type { EntryFinding } from './entries.ts';

/** Of SPIRE's entries those that the agent serves: below it, below an alias whose selectors it has, and below those in turn. */
export function entriesOfAgent(agent: Agent, findings: readonly EntryFinding[]): readonly EntryFinding[] {
  const spires = findings.filter(({ verdict }) => verdict !== 'extra');
  const has = new Set(agent.selectors.map(({ type, value }) => `${type}:${value}`));
  const aliases = spires.filter(({ entry }) => isAliasOf(entry, has));
  const parents = new Set([formatWireId(agent.id), ...aliases.map(({ entry }) => formatWireId(entry.spiffeId))]);
  const served = new Set(aliases);
  let known: number;
  do {
    known = served.size;
    for (const finding of spires) {
      if (!parents.has(formatWireId(finding.entry.parentId))) continue;
      served.add(finding);
      parents.add(formatWireId(finding.entry.spiffeId));
    }
  } while (served.size > known);
  return [...served];
}

function isAliasOf({ parentId, selectors }: EntryFinding['entry'], has: ReadonlySet<string>): boolean {
  return parentId?.path === '/spire/server' && selectors.every(({ type, value }) => has.has(`${type}:${value}`));
}

/** The selectors that an alias of the agent needs, and that the agent does not have here. */
export function missingSelectors(spire: Agent, here: Agent, findings: readonly EntryFinding[]): readonly string[] {
  const has = new Set(here.selectors.map(({ type, value }) => `${type}:${value}`));
  const needed = entriesOfAgent(spire, findings)
    .filter(({ entry }) => entry.parentId?.path === '/spire/server')
    .flatMap(({ entry }) => entry.selectors.map(({ type, value }) => `${type}:${value}`));
  return [...new Set(needed)].filter((selector) => !has.has(selector));
}
