import type { DesiredEntry } from '../ports.ts';
import { fieldsFingerprint } from './entry-key.ts';
import { comparePrecedence, type Precedence } from './precedence.ts';

/** Who declares entries. Its counters are kept by {@link Slots}. */
export interface Declarer {
  /** Among all declaring objects. */
  readonly key: string;
  readonly precedence: Precedence;
  /** Entries of its that are to be at the CA. */
  entriesToSet: number;
  /** Entries of its that another object's masks. */
  entriesMasked: number;
}

/** One object's wish for an entry. */
export interface Claim {
  readonly entry: DesiredEntry;
  readonly declarer: Declarer;
  /** The pod that it is for, as `namespace/name`; empty for a static one. */
  readonly pod: string;
}

/**
 * The entries that are wished for, by key. Of several wishes for the same one the oldest object's holds and masks the others.
 * Remembers which keys changed, so that nobody has to compare everything.
 */
export class Slots {
  readonly #claims = new Map<string, readonly Claim[]>();
  #changedKeys = new Set<string>();
  readonly #onCounted: (declarer: Declarer) => void;

  /** `onCounted` is called with each declarer whose counters changed. */
  constructor(onCounted: (declarer: Declarer) => void) {
    this.#onCounted = onCounted;
  }

  get size(): number {
    return this.#claims.size;
  }

  keys(): IterableIterator<string> {
    return this.#claims.keys();
  }

  /** The wish that holds; undefined when nobody has one. */
  winner(key: string): Claim | undefined {
    return this.#claims.get(key)?.[0];
  }

  /** All wishes for a key, the one that holds first. */
  claims(key: string): readonly Claim[] {
    return this.#claims.get(key) ?? [];
  }

  /** The keys whose winner changed since the last call. */
  takeChangedKeys(): ReadonlySet<string> {
    const changed = this.#changedKeys;
    this.#changedKeys = new Set();
    return changed;
  }

  add(claim: Claim): void {
    const { key } = claim.entry;
    const present = this.#claims.get(key);
    // By far the most entries are wished for once.
    const next =
      present === undefined
        ? [claim]
        : [...present, claim].sort((a, b) => comparePrecedence(a.declarer.precedence, b.declarer.precedence));
    this.#replace(key, present ?? [], next);
  }

  remove(claim: Claim): void {
    const { key } = claim.entry;
    const present = this.#claims.get(key) ?? [];
    this.#replace(
      key,
      present,
      present.filter((each) => each !== claim),
    );
  }

  #replace(key: string, before: readonly Claim[], after: readonly Claim[]): void {
    this.#count(before, -1);
    this.#count(after, 1);
    if (after.length === 0) this.#claims.delete(key);
    else this.#claims.set(key, after);
    if (changed(before[0], after[0])) this.#changedKeys.add(key);
  }

  #count(claims: readonly Claim[], by: 1 | -1): void {
    for (const [index, { declarer }] of claims.entries()) {
      if (index === 0) declarer.entriesToSet += by;
      else declarer.entriesMasked += by;
      this.#onCounted(declarer);
    }
  }
}

function changed(before: Claim | undefined, after: Claim | undefined): boolean {
  if (before === after) return false;
  if (before === undefined || after === undefined) return true;
  return fieldsFingerprint(before.entry) !== fieldsFingerprint(after.entry);
}
