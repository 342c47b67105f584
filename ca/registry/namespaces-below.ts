import { isNodeAlias } from '../model.ts';
import type { EntryGraph, EntryRecord } from './entry-graph.ts';
import { namespaceOfEntry } from '../entry-metadata.ts';

/** The namespaces of the entries below one root. */
export interface NamespacesOfRoot {
  /** Empty text: of an entry that says none. */
  readonly names: ReadonlySet<string>;
  /** Another whenever `names` are others. No two roots ever have the same. */
  readonly version: number;
}

class Tally implements NamespacesOfRoot {
  readonly names = new Set<string>();
  version: number;
  readonly #counts = new Map<string, number>();

  constructor(version: number) {
    this.version = version;
  }

  /** @returns whether the names are others now */
  add(namespace: string, by: 1 | -1): boolean {
    const count = (this.#counts.get(namespace) ?? 0) + by;
    if (count > 0) this.#counts.set(namespace, count);
    else this.#counts.delete(namespace);
    if (count > 0 === this.names.has(namespace)) return false;
    if (count > 0) this.names.add(namespace);
    else this.names.delete(namespace);
    return true;
  }
}

/**
 * Which namespaces the entries below a root are of. A root is looked at once in full; from then on each change of an entry is
 * counted in and out. A change that moves other entries along has the roots above it looked at anew.
 */
export class NamespacesBelow {
  readonly #graph: EntryGraph;
  readonly #roots = new Map<string, Tally>();
  #versions = 0;

  constructor(graph: EntryGraph) {
    this.#graph = graph;
  }

  of(root: string): NamespacesOfRoot {
    let tally = this.#roots.get(root);
    if (tally === undefined) {
      tally = new Tally(++this.#versions);
      for (const { entry } of this.#graph.descendants([root])) tally.add(namespaceOfEntry(entry), 1);
      this.#roots.set(root, tally);
    }
    return tally;
  }

  /** No longer counts for a root. */
  forget(root: string): void {
    this.#roots.delete(root);
  }

  /** Counts an entry out, before it leaves the graph. `moved`: what is below it may be below other roots afterwards. */
  leave(record: EntryRecord | undefined, moved: boolean): void {
    this.#count(record, moved, -1);
  }

  /** Counts an entry in, once it is in the graph. */
  enter(record: EntryRecord | undefined, moved: boolean): void {
    this.#count(record, moved, 1);
  }

  #count(record: EntryRecord | undefined, moved: boolean, by: 1 | -1): void {
    if (record === undefined || this.#roots.size === 0 || isNodeAlias(record.entry)) return;
    const { entry } = record;
    const takesAlong = moved && this.#graph.byParent.has(entry.spiffeId.toString());
    for (const root of this.#graph.ancestors(entry.parentId.toString())) {
      const tally = this.#roots.get(root);
      if (tally === undefined) continue;
      if (takesAlong) this.#roots.delete(root);
      else if (tally.add(namespaceOfEntry(entry), by)) tally.version = ++this.#versions;
    }
  }
}
