import type { NamespaceRecord } from '../ports.ts';

/** The namespaces, and which of them are left alone. */
export class NamespaceStore {
  readonly #patterns: readonly RegExp[];
  readonly #byName = new Map<string, NamespaceRecord>();
  readonly #ignored = new Map<string, boolean>();

  /** @param patterns a namespace that one of them matches anywhere in its name is left alone */
  constructor(patterns: readonly RegExp[]) {
    this.#patterns = patterns;
  }

  all(): Iterable<NamespaceRecord> {
    return this.#byName.values();
  }

  put(record: NamespaceRecord): void {
    this.#byName.set(record.name, record);
  }

  remove(name: string): void {
    this.#byName.delete(name);
  }

  /** Whether the controller leaves a namespace alone, also one that is not here (yet). */
  isIgnored(name: string): boolean {
    let ignored = this.#ignored.get(name);
    if (ignored === undefined) {
      ignored = this.#patterns.some((pattern) => pattern.test(name));
      this.#ignored.set(name, ignored);
    }
    return ignored;
  }
}
