import type { Entry } from '../model.ts';
import type { EntryGraph, EntryRecord } from './entry-graph.ts';
import { entryPredicate } from './filters.ts';
import type { EntryFilter, SelectorMatch } from './filters.ts';
import { pageOf, positionOf } from './page.ts';
import type { Page, PageRequest } from './page.ts';

/** Reads entries by ID and by filter, by an index wherever the filter allows it. */
export class EntryCollection {
  readonly #graph: EntryGraph;

  constructor(graph: EntryGraph) {
    this.#graph = graph;
  }

  get(id: string): Entry | undefined {
    return this.#graph.get(id)?.entry;
  }

  /** In order of creation. @throws IdentityError `invalid_argument` for a page token that no list gave */
  list(filter: EntryFilter = {}, page: PageRequest = {}): Page<Entry> {
    return pageOf(this.#matching(filter, positionOf(page.token)), page, ({ entry }) => entry);
  }

  count(filter: EntryFilter = {}): number {
    if (Object.keys(filter).length === 0) return this.#graph.size;
    return this.#matching(filter, 0).reduce((count) => count + 1, 0);
  }

  *#matching(filter: EntryFilter, after: number): Generator<EntryRecord, void, undefined> {
    const matches = entryPredicate(filter);
    for (const record of this.#candidates(filter, after)) {
      if (matches(record.entry)) yield record;
    }
  }

  #candidates(filter: EntryFilter, after: number): Iterable<EntryRecord> {
    const { bySpiffeId, byParentId, bySelectors } = filter;
    if (bySpiffeId !== undefined) return inOrder(this.#graph.bySpiffeId.get(bySpiffeId.toString()), after);
    if (bySelectors !== undefined) return inOrder(this.#bySelectors(bySelectors), after);
    if (byParentId !== undefined) return inOrder(this.#graph.byParent.get(byParentId.toString()), after);
    return this.#graph.ordered.after(after);
  }

  #bySelectors({ match, selectors }: SelectorMatch): Iterable<EntryRecord> {
    const { bySelector } = this.#graph;
    // Who must have them all is among those that have the rarest; who may have some is among those that have any.
    if (match === 'subset' || match === 'any') return new Set(selectors.flatMap((selector) => [...bySelector.get(selector)]));
    const [rarest] = selectors.toSorted((a, b) => bySelector.count(a) - bySelector.count(b));
    return rarest === undefined ? [] : bySelector.get(rarest);
  }
}

function inOrder(records: Iterable<EntryRecord>, after: number): readonly EntryRecord[] {
  return [...records].filter(({ position }) => position > after).sort((a, b) => a.position - b.position);
}
