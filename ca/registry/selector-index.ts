import type { Selector } from '../model.ts';
import { MultiMap } from './multi-map.ts';

/** Values by selector. Type and value are looked up one after the other: to join them for each look-up would cost more. */
export class SelectorIndex<V extends object> {
  readonly #types = new Map<string, MultiMap<V>>();

  add({ type, value }: Selector, indexed: V): void {
    let values = this.#types.get(type);
    if (values === undefined) this.#types.set(type, (values = new MultiMap()));
    values.add(value, indexed);
  }

  delete({ type, value }: Selector, indexed: V): void {
    this.#types.get(type)?.delete(value, indexed);
  }

  get({ type, value }: Selector): Iterable<V> {
    return this.#types.get(type)?.get(value) ?? [];
  }

  count({ type, value }: Selector): number {
    return this.#types.get(type)?.count(value) ?? 0;
  }
}
