import { isNodeAlias, selectorText } from '../model.ts';
import type { Agent, Entry } from '../model.ts';
import { selects } from './entry-graph.ts';
import { MultiMap } from './multi-map.ts';

/** An entry as it was until a revision: then it was deleted or moved. */
export interface FormerEntry {
  readonly entry: Entry;
  readonly revision: number;
}

interface FormerAgent {
  readonly agent: Agent;
  readonly revision: number;
}

/**
 * What entries and agents were before they were deleted or moved, as far back as {@link floor}. With it an agent that resumes
 * from a revision since then is told what to forget, instead of being sent everything.
 */
export class History {
  readonly #capacity: number;
  /** In order of revision. */
  #entries: FormerEntry[] = [];
  readonly #byParent = new MultiMap<FormerEntry>();
  readonly #aliases = new Set<FormerEntry>();
  readonly #agents = new Map<string, FormerAgent[]>();
  #floor = 0;

  /** @param capacity how many former entries are kept at least; half as many more before the oldest go */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Everything that ended after this revision is known. */
  get floor(): number {
    return this.#floor;
  }

  /** Says that what ended up to this revision is not known. */
  raiseFloor(revision: number): void {
    this.#floor = Math.max(this.#floor, revision);
  }

  addEntry(entry: Entry, revision: number): void {
    const former = { entry, revision };
    this.#entries.push(former);
    this.#byParent.add(entry.parentId.toString(), former);
    if (isNodeAlias(entry)) this.#aliases.add(former);
    if (this.#entries.length > this.#capacity * 1.5) this.#forget(this.#entries.length - this.#capacity);
  }

  addAgent(agent: Agent, revision: number): void {
    const name = agent.id.toString();
    const formers = this.#agents.get(name) ?? [];
    // Few re-attestations matter; beyond them the agent gets a snapshot, like all that are behind the floor.
    this.#agents.set(name, [...formers, { agent, revision }].slice(-MAX_FORMER_AGENTS));
  }

  /** Former entries below a parent that ended after a revision. */
  *below(parent: string, since: number): Generator<FormerEntry, void, undefined> {
    for (const former of this.#byParent.get(parent)) {
      if (former.revision > since && !isNodeAlias(former.entry)) yield former;
    }
  }

  /** Former node aliases that ended after a revision and selected an agent with these selectors. */
  aliasesOf(selectors: Agent['selectors'], since: number): readonly FormerEntry[] {
    const texts = new Set(selectors.map(selectorText));
    return [...this.#aliases].filter(({ entry, revision }) => revision > since && selects(entry, texts));
  }

  /** The agent as it was at a revision, when it has changed its selectors or was deleted since; else undefined. */
  agentAt(name: string, revision: number): Agent | undefined {
    return this.#agents.get(name)?.find((former) => former.revision > revision)?.agent;
  }

  /** Whether the agent changed more often since then than is remembered. */
  hasForgottenAgent(name: string, revision: number): boolean {
    const formers = this.#agents.get(name);
    return formers?.length === MAX_FORMER_AGENTS && (formers[0]?.revision ?? 0) > revision;
  }

  #forget(count: number): void {
    for (const former of this.#entries.slice(0, count)) {
      this.#byParent.delete(former.entry.parentId.toString(), former);
      this.#aliases.delete(former);
      this.raiseFloor(former.revision);
    }
    this.#entries = this.#entries.slice(count);
  }
}

const MAX_FORMER_AGENTS = 4;
