/**
 * A map from a text to several values. A key with one value, by far the most frequent, holds just that one: a hundred
 * thousand sets of one member would cost more memory than what is in them.
 */
export class MultiMap<V extends object> {
  readonly #values = new Map<string, V | Set<V>>();

  add(key: string, value: V): void {
    const present = this.#values.get(key);
    if (present === undefined) this.#values.set(key, value);
    else if (present instanceof Set) present.add(value);
    else if (present !== value) this.#values.set(key, new Set([present, value]));
  }

  delete(key: string, value: V): void {
    const present = this.#values.get(key);
    if (present === value) this.#values.delete(key);
    if (!(present instanceof Set)) return;
    present.delete(value);
    if (present.size === 0) this.#values.delete(key);
  }

  /** The values of a key, in order of addition. */
  get(key: string): Iterable<V> {
    const present = this.#values.get(key);
    if (present === undefined) return [];
    return present instanceof Set ? present : [present];
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  count(key: string): number {
    const present = this.#values.get(key);
    if (present === undefined) return 0;
    return present instanceof Set ? present.size : 1;
  }
}
