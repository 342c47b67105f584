import { fieldsFingerprint } from '../identity/entry-key.ts';
import type { DesiredEntry } from '../ports.ts';
import type { EntryClient } from './entry-client.ts';
import type { ActualEntry } from './entry-wire.ts';

/** What is known to be at the CA of ours, by key. */
export class KnownEntries {
  readonly #byKey = new Map<string, ActualEntry>();
  /** Entries of ours that are there a second time. */
  readonly #surplus = new Set<string>();
  /** The keys written since a comparison began to read; undefined while none is under way. */
  #written: Set<string> | undefined;

  get size(): number {
    return this.#byKey.size;
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }

  all(): Iterable<ActualEntry> {
    return this.#byKey.values();
  }

  get(key: string): ActualEntry | undefined {
    return this.#byKey.get(key);
  }

  /** Whether the entry is there and not as it ought to be. */
  differs(entry: DesiredEntry): boolean {
    const actual = this.#byKey.get(entry.key);
    return actual !== undefined && actual.fingerprint !== fieldsFingerprint(entry);
  }

  /** The IDs of entries that are there a second time: to be deleted. */
  get surplus(): ReadonlySet<string> {
    return this.#surplus;
  }

  /** Takes in what was read. `key` is that of the entry that ought to be there, where one ought to: one text is kept, not two. */
  found(entry: ActualEntry, key = entry.key): void {
    if (this.#byKey.has(key)) this.#surplus.add(entry.id);
    else this.#byKey.set(key, { ...entry, key });
  }

  /** Takes in what the CA answered to a write of ours. */
  wrote(key: string, actual: ActualEntry): void {
    this.#written?.add(key);
    this.#byKey.set(key, { ...actual, key });
  }

  /** Takes note that an entry is not there (any more). */
  gone(key: string): void {
    this.#written?.add(key);
    this.#byKey.delete(key);
  }

  surplusGone(id: string): void {
    this.#surplus.delete(id);
  }

  /** Takes note that a write was refused: what was read of the entry meanwhile says nothing. */
  refused(key: string): void {
    this.#written?.add(key);
  }

  clear(): void {
    this.#byKey.clear();
    this.#surplus.clear();
    this.#written = undefined;
  }

  /**
   * Compares what is at the CA with what is known of it, by revisions, and reads what differs. What was written meanwhile is left
   * alone.
   */
  async compare({ client, prefix, keyOf, onDiffers }: Comparison, signal: AbortSignal): Promise<Drift> {
    const written = new Set<string>();
    this.#written = written;
    const seen = await revisionsOf({ client, prefix }, signal);
    const stale = [...this.#byKey.values()].filter(({ id, key, revision }) => !written.has(key) && seen.get(id) !== revision);
    const known = new Set(Iterator.from(this.#byKey.values()).map(({ id }) => id));
    for (const { key } of stale) this.#byKey.delete(key);
    const unknown = [...seen.keys()].filter((id) => !known.has(id) && !this.#surplus.has(id));
    const changed = stale.filter(({ id }) => seen.has(id)).map(({ id }) => id);
    const read: string[] = [];
    try {
      for (const id of [...changed, ...unknown]) {
        const entry = await client.get(id, signal);
        if (entry === undefined || written.has(entry.key)) continue;
        this.found(entry, keyOf(entry.key));
        read.push(entry.key);
      }
    } finally {
      // What could not be read is met again when it is made.
      onDiffers({ read, stale: stale.map(({ key }) => key) });
      if (this.#written === written) this.#written = undefined;
    }
    return { changed: changed.length, gone: stale.length - changed.length, unknown: unknown.length };
  }
}

/** What a comparison needs. */
export interface Comparison {
  readonly client: Pick<EntryClient, 'get' | 'listRevisions'>;
  /** What the IDs of our entries begin with. */
  readonly prefix: string;
  /** The text of a key that is held already, where there is one. */
  readonly keyOf: (key: string) => string;
  /** Told which entries are to be looked at again: those that were read, and those that are not as they were known. */
  readonly onDiffers: (keys: { readonly read: readonly string[]; readonly stale: readonly string[] }) => void;
}

/** What a comparison found. */
export interface Drift {
  /** How many were not as they were known. */
  readonly changed: number;
  /** How many were not there any more. */
  readonly gone: number;
  /** How many nobody knew of. */
  readonly unknown: number;
}

async function revisionsOf(
  { client, prefix }: Pick<Comparison, 'client' | 'prefix'>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, bigint>> {
  const seen = new Map<string, bigint>();
  for await (const page of client.listRevisions(signal)) {
    for (const { id, revision } of page) if (id.startsWith(prefix)) seen.set(id, revision);
  }
  return seen;
}
