import type { Agent, Entry, Selector } from '../model.ts';
import { selectorText } from '../model.ts';
import type { EntryGraph } from './entry-graph.ts';
import type { NamespacesBelow } from './namespaces-below.ts';

/** Where an agent's entries are. */
export interface AgentScope {
  /** The agent's ID and those of its node aliases: an entry below any of these is the agent's. */
  readonly roots: readonly string[];
  /** Of its entries; the empty text stands for one that says none. Empty: it has no entries. */
  readonly namespaces: ReadonlySet<string>;
}

interface Known extends AgentScope {
  readonly selectors: readonly Selector[];
  /** Versions of the namespaces of the roots. */
  readonly madeOf: string;
}

/** Which namespaces the entries of each agent are of, whether it is connected to this replica or not. */
export class AgentScopes {
  readonly #graph: EntryGraph;
  readonly #namespaces: NamespacesBelow;
  readonly #known = new Map<string, Known>();

  constructor(graph: EntryGraph, namespaces: NamespacesBelow) {
    this.#graph = graph;
    this.#namespaces = namespaces;
  }

  of({ id, selectors }: Agent): AgentScope {
    const name = id.toString();
    const known = this.#known.get(name);
    const isCurrent = known !== undefined && sameSelectors(known.selectors, selectors);
    const roots = isCurrent ? known.roots : [name, ...new Set(this.#aliasIds(selectors))];
    const parts = roots.map((root) => this.#namespaces.of(root));
    const madeOf = parts.map(({ version }) => version).join();
    if (isCurrent && known.madeOf === madeOf) return known;
    const [first] = parts;
    // Most agents have one root, whose namespaces are theirs.
    const namespaces =
      parts.length === 1 && first !== undefined ? first.names : new Set(parts.flatMap(({ names }) => [...names]));
    const scope = { roots, namespaces, selectors, madeOf };
    this.#known.set(name, scope);
    return scope;
  }

  /** Says that a node alias came, changed or went. */
  aliasesChanged(): void {
    this.#known.clear();
  }

  forget(agentId: string): void {
    this.#known.delete(agentId);
  }

  /**
   * For each test, the IDs above the entries that pass it: an agent with one of them as root has such an entry. Looks at all
   * entries, and at what changes meanwhile it may or may not.
   *
   * @param breathe called now and then, to let others have their turn
   */
  async rootsAbove(
    tests: readonly ((entry: Entry) => boolean)[],
    breathe: () => Promise<void> | undefined,
  ): Promise<readonly ReadonlySet<string>[]> {
    const parents = tests.map(() => new Set<string>());
    let looked = 0;
    for (const { entry } of this.#graph.ordered.after(0)) {
      if ((looked += 1) % LOOK_AT_ONCE === 0) await breathe();
      for (const [index, test] of tests.entries()) if (test(entry)) parents[index]?.add(entry.parentId.toString());
    }
    return parents.map((each) => new Set([...each].flatMap((parent) => [...this.#graph.ancestors(parent)])));
  }

  *#aliasIds(selectors: readonly Selector[]): Generator<string, void, undefined> {
    for (const { entry } of this.#graph.aliasesOf(selectors)) yield entry.spiffeId.toString();
  }
}

const LOOK_AT_ONCE = 200;

function sameSelectors(one: readonly Selector[], other: readonly Selector[]): boolean {
  if (one === other) return true;
  return one.length === other.length && one.every((each, index) => same(each, other[index]));
}

function same(one: Selector, other: Selector | undefined): boolean {
  return other !== undefined && selectorText(one) === selectorText(other);
}
