import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { Agent, Entry, Selector } from '../model.ts';
import type { EntryGraph, EntryRecord } from './entry-graph.ts';
import { selects } from './entry-graph.ts';
import type { History } from './history.ts';
import { selectorText } from '../model.ts';

/** What an agent that was complete at a revision lacks, and what it must forget. */
export interface Gap {
  readonly put: readonly EntryRecord[];
  /** May name entries that the agent never had. */
  readonly removed: readonly string[];
  /** All that is the agent's now, and the part of it that it had already. */
  readonly present: ReadonlySet<EntryRecord>;
  readonly kept: ReadonlySet<EntryRecord>;
  /** All that the agent can have had: what is present, and what ended since, as it was. */
  readonly possible: readonly Entry[];
}

/** The parts that {@link findGap} reads. */
export interface GapSources {
  readonly graph: EntryGraph;
  readonly history: History;
  readonly agentId: SpiffeId;
  /** Undefined when the agent's record is not there (yet): then it has no node aliases. */
  readonly agent: Agent | undefined;
}

/**
 * What changed for an agent since a revision, without knowing what it had then. What is reachable over unchanged entries
 * alone, it had (`kept`); what is reachable over present and former entries together is all it can have had.
 */
export function findGap({ graph, history, agentId, agent }: GapSources, since: number): Gap {
  const name = agentId.toString();
  const selectors = agent?.selectors ?? [];
  const selectorsThen = history.agentAt(name, since)?.selectors ?? selectors;
  const present = graph.descendants([name, ...idsOf(graph.aliasesOf(selectors))]);
  const unchanged = (record: EntryRecord): boolean => record.revision <= since;
  const textsThen = new Set(selectorsThen.map(selectorText));
  const keptAliases = graph.aliasesOf(selectors, (record) => unchanged(record) && selects(record.entry, textsThen));
  const kept = graph.descendants([name, ...idsOf(keptAliases)], unchanged);
  const roots = [name, ...rootsSince({ graph, history, selectorSets: [selectors, selectorsThen], since })];
  const presentIds = new Set([...present].map(({ entry }) => entry.id));
  const possible = everBelow(graph, history, roots, since);
  const removed = new Set(possible.map(({ id }) => id).filter((id) => !presentIds.has(id)));
  return { put: [...present].filter((record) => !kept.has(record)), removed: [...removed], present, kept, possible };
}

function* rootsSince(options: {
  readonly graph: EntryGraph;
  readonly history: History;
  readonly selectorSets: readonly (readonly Selector[])[];
  readonly since: number;
}): Generator<string, void, undefined> {
  const { graph, history, selectorSets, since } = options;
  for (const selectors of selectorSets) {
    yield* idsOf(graph.aliasesOf(selectors));
    for (const { entry } of history.aliasesOf(selectors, since)) yield entry.spiffeId.toString();
  }
}

/** The entries below the roots over present entries and those that ended since. */
function everBelow(graph: EntryGraph, history: History, roots: readonly string[], since: number): readonly Entry[] {
  const entries: Entry[] = [];
  const seen = new Set<string>();
  const open = [...roots];
  for (let parent = open.pop(); parent !== undefined; parent = open.pop()) {
    if (seen.has(parent)) continue;
    seen.add(parent);
    for (const { entry } of [...graph.below(parent), ...history.below(parent, since)]) {
      entries.push(entry);
      open.push(entry.spiffeId.toString());
    }
  }
  return entries;
}

function idsOf(records: Iterable<EntryRecord>): readonly string[] {
  return [...records].map(({ entry }) => entry.spiffeId.toString());
}
