import { isNodeAlias, selectorText } from '../model.ts';
import type { Entry, Selector } from '../model.ts';
import { MultiMap } from './multi-map.ts';
import { OrderedRecords } from './ordered-records.ts';
import { SelectorIndex } from './selector-index.ts';

/** An entry with what the feed says of it. */
export interface EntryRecord {
  readonly entry: Entry;
  /** Of the store, of the entry's last change. */
  readonly revision: number;
  readonly position: number;
}

/** Decides whether a record takes part in a walk. */
export type Admits = (record: EntryRecord) => boolean;

/**
 * All entries, with the edges that authorization follows: from a parent ID to the entries below it, and from an entry's SPIFFE
 * ID, as a parent, to those below that. Node aliases are entries whose SPIFFE ID is a parent for all agents that they select.
 */
export class EntryGraph {
  readonly ordered = new OrderedRecords<EntryRecord>();
  readonly byParent = new MultiMap<EntryRecord>();
  readonly bySpiffeId = new MultiMap<EntryRecord>();
  readonly bySelector = new SelectorIndex<EntryRecord>();
  /** Node aliases only, by each of their selectors. */
  readonly #aliases = new SelectorIndex<EntryRecord>();
  readonly #byId = new Map<string, EntryRecord>();
  readonly #expiring = new Set<EntryRecord>();
  // Walks up the tree begin at few different parents; any change of the graph makes them void.
  readonly #ancestors = new Map<string, ReadonlySet<string>>();
  #federating = 0;

  get size(): number {
    return this.#byId.size;
  }

  /** How many entries federate with anyone. */
  get federating(): number {
    return this.#federating;
  }

  /** Entries with an expiry. */
  get expiring(): Iterable<EntryRecord> {
    return this.#expiring;
  }

  get(id: string): EntryRecord | undefined {
    return this.#byId.get(id);
  }

  put(record: EntryRecord): void {
    this.delete(record.entry.id);
    const { entry } = record;
    this.#byId.set(entry.id, record);
    this.ordered.add(record);
    this.byParent.add(entry.parentId.toString(), record);
    this.bySpiffeId.add(entry.spiffeId.toString(), record);
    for (const selector of entry.selectors) this.bySelector.add(selector, record);
    if (isNodeAlias(entry)) for (const selector of entry.selectors) this.#aliases.add(selector, record);
    if (entry.expiresAtSeconds !== 0) this.#expiring.add(record);
    if (entry.federatesWith.length > 0) this.#federating += 1;
    this.#ancestors.clear();
  }

  delete(id: string): void {
    const record = this.#byId.get(id);
    if (record === undefined) return;
    const { entry } = record;
    this.#byId.delete(id);
    this.ordered.remove(record);
    this.byParent.delete(entry.parentId.toString(), record);
    this.bySpiffeId.delete(entry.spiffeId.toString(), record);
    for (const selector of entry.selectors) this.bySelector.delete(selector, record);
    if (isNodeAlias(entry)) for (const selector of entry.selectors) this.#aliases.delete(selector, record);
    this.#expiring.delete(record);
    if (entry.federatesWith.length > 0) this.#federating -= 1;
    this.#ancestors.clear();
  }

  /** The node aliases that select an agent with these selectors: those whose selectors the agent all has. */
  aliasesOf(selectors: readonly Selector[], admits: Admits = () => true): ReadonlySet<EntryRecord> {
    const texts = new Set(selectors.map(selectorText));
    const found = new Set<EntryRecord>();
    for (const selector of selectors) {
      for (const record of this.#aliases.get(selector)) {
        if (!found.has(record) && admits(record) && selects(record.entry, texts)) found.add(record);
      }
    }
    return found;
  }

  /** The entries directly below a parent. What is below the server's own ID are aliases: they name agents and are nobody's identity. */
  *below(parent: string): Generator<EntryRecord, void, undefined> {
    for (const record of this.byParent.get(parent)) {
      if (!isNodeAlias(record.entry)) yield record;
    }
  }

  /** All entries below the parents, down to the leaves; each once. */
  descendants(parents: Iterable<string>, admits: Admits = () => true): Set<EntryRecord> {
    const found = new Set<EntryRecord>();
    const seen = new Set<string>();
    const open = [...parents];
    for (let parent = open.pop(); parent !== undefined; parent = open.pop()) {
      if (seen.has(parent)) continue;
      seen.add(parent);
      for (const record of this.below(parent)) {
        if (!admits(record)) continue;
        found.add(record);
        open.push(record.entry.spiffeId.toString());
      }
    }
    return found;
  }

  /** The parent and all that is above it: an entry below `parent` belongs to every agent that is, or has as alias, one of these. */
  ancestors(parent: string): ReadonlySet<string> {
    let seen = this.#ancestors.get(parent);
    if (seen === undefined) {
      seen = this.#walkUp(parent);
      this.#ancestors.set(parent, seen);
    }
    return seen;
  }

  #walkUp(from: string): ReadonlySet<string> {
    const seen = new Set<string>();
    const open = [from];
    for (let parent = open.pop(); parent !== undefined; parent = open.pop()) {
      if (seen.has(parent)) continue;
      seen.add(parent);
      for (const { entry } of this.bySpiffeId.get(parent)) {
        if (!isNodeAlias(entry)) open.push(entry.parentId.toString());
      }
    }
    return seen;
  }
}

/** Whether a node alias selects an agent that has these selectors, as texts. */
export function selects(alias: Entry, agentSelectors: ReadonlySet<string>): boolean {
  return alias.selectors.length > 0 && alias.selectors.every((selector) => agentSelectors.has(selectorText(selector)));
}
