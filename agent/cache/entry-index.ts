import type { EntryRecord } from './entry-record.ts';
import type { SelectorSet } from './selectors.ts';

/** Finds the entries of a workload without looking at all of them: each is filed under one of its selectors. */
export class EntryIndex {
  readonly #bySelector = new Map<string, Set<EntryRecord>>();

  add(record: EntryRecord): void {
    const selector = filedUnder(record);
    const filed = this.#bySelector.get(selector);
    if (filed === undefined) this.#bySelector.set(selector, new Set([record]));
    else filed.add(record);
  }

  remove(record: EntryRecord): void {
    const selector = filedUnder(record);
    const filed = this.#bySelector.get(selector);
    filed?.delete(record);
    if (filed?.size === 0) this.#bySelector.delete(selector);
  }

  /** The entries all of whose selectors are in the set. */
  match(set: SelectorSet): EntryRecord[] {
    const matching: EntryRecord[] = [];
    for (const text of set.texts) {
      for (const record of this.#bySelector.get(text) ?? []) if (set.hasAll(record.entry.selectors)) matching.push(record);
    }
    return matching;
  }
}

// The longest is the most telling as a rule: a path or a digest rather than a uid.
function filedUnder({ entry }: EntryRecord): string {
  return entry.selectors.reduce((longest, text) => (text.length > longest.length ? text : longest), '');
}
