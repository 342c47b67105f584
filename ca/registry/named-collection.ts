import { OrderedRecords } from './ordered-records.ts';
import { pageOf, positionOf } from './page.ts';
import type { Page, PageRequest } from './page.ts';
import type { Predicate } from './filters.ts';

/** A resource with what the feed says of it. */
export interface NamedRecord<T> {
  readonly value: T;
  readonly revision: number;
  readonly position: number;
}

/** Resources of one kind by name, in order of creation; filters scan, so it is for kinds of which there are few. */
export class NamedCollection<K extends { toString(): string }, T, F> {
  readonly #records = new Map<string, NamedRecord<T>>();
  readonly #ordered = new OrderedRecords<NamedRecord<T>>();
  readonly #predicate: (filter: F) => Predicate<T>;

  constructor(predicate: (filter: F) => Predicate<T>) {
    this.#predicate = predicate;
  }

  get(key: K): T | undefined {
    return this.#records.get(key.toString())?.value;
  }

  /** In order of creation. @throws IdentityError `invalid_argument` for a page token that no list gave */
  list(filter?: F, page: PageRequest = {}): Page<T> {
    return pageOf(this.#matching(filter, positionOf(page.token)), page, ({ value }) => value);
  }

  count(filter?: F): number {
    if (filter === undefined) return this.#records.size;
    return this.#matching(filter, 0).reduce((count) => count + 1, 0);
  }

  record(name: string): NamedRecord<T> | undefined {
    return this.#records.get(name);
  }

  /** All, in order of creation. */
  records(): Iterable<NamedRecord<T>> {
    return this.#ordered.after(0);
  }

  names(): Iterable<string> {
    return this.#records.keys();
  }

  put(name: string, record: NamedRecord<T>): void {
    this.delete(name);
    this.#records.set(name, record);
    this.#ordered.add(record);
  }

  delete(name: string): void {
    const record = this.#records.get(name);
    if (record === undefined) return;
    this.#records.delete(name);
    this.#ordered.remove(record);
  }

  *#matching(filter: F | undefined, after: number): Generator<NamedRecord<T>, void, undefined> {
    const matches = filter === undefined ? () => true : this.#predicate(filter);
    for (const record of this.#ordered.after(after)) {
      if (matches(record.value)) yield record;
    }
  }
}
