import type { DesiredEntry } from '../ports.ts';
import { fieldsFingerprint } from './entry-key.ts';
import { Powers, rankOf, type PowerHolder } from './powers.ts';
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
  /** Entries of its that must not be, because their SPIFFE ID has power that they were not given. */
  entriesReserved: number;
}

/** One object's wish for an entry. */
export interface Claim {
  readonly entry: DesiredEntry;
  readonly declarer: Declarer;
  /** The pod that it is for, as `namespace/name`; empty for a static one. */
  readonly pod: string;
}

/** A wish that is not counted (yet): of an object that is being reviewed. */
export type ProposedClaim = Pick<Claim, 'entry' | 'pod'> & { readonly declarer: Pick<Declarer, 'key' | 'precedence'> };

/** Who is told of what changes in {@link Slots}. */
export interface SlotsListeners {
  /** Told of each declarer whose counters changed. */
  readonly onCounted: (declarer: Declarer) => void;
  /** Told of each claim of an ID that came to have power, or lost it. */
  readonly onShifted: (claim: Claim) => void;
}

/** The rank of a SPIFFE ID before and after a change. */
interface Ranks {
  readonly before: number;
  readonly after: number;
}

/**
 * The entries that are wished for, by key. Of several wishes for the same one the oldest object's holds and masks the others;
 * a wish for an ID that somebody else gives power (see {@link Powers}) holds only if it was given the same power.
 * Remembers which keys changed, so that nobody has to compare everything.
 */
export class Slots {
  /** Of the wishes for a key those with the most power come first, then the oldest. */
  readonly #claims = new Map<string, readonly Claim[]>();
  readonly #keysOfId = new Map<string, Set<string>>();
  readonly #powers = new Powers();
  readonly #listeners: SlotsListeners;
  #changedKeys = new Set<string>();
  #held = 0;

  constructor(listeners: SlotsListeners) {
    this.#listeners = listeners;
  }

  /** How many keys have a wish that holds. */
  get size(): number {
    return this.#held;
  }

  /** The keys that have a wish that holds. */
  keys(): IterableIterator<string> {
    return this.#claims.keys().filter((key) => this.winner(key) !== undefined);
  }

  /** The wish that holds; undefined when none does. */
  winner(key: string): Claim | undefined {
    const first = this.#claims.get(key)?.[0];
    return first !== undefined && rankOf(first.entry) === this.#powers.rankAt(first.entry.spiffeId) ? first : undefined;
  }

  /** All wishes for a key, the one that holds first. */
  claims(key: string): readonly Claim[] {
    return this.#claims.get(key) ?? [];
  }

  /** All wishes for a SPIFFE ID. */
  *claimsOfId(spiffeId: string): Generator<Claim> {
    for (const key of this.#keysOfId.get(spiffeId) ?? []) yield* this.claims(key);
  }

  /** Who gives an entry's ID power that the entry was not given, other than the object of the key `except`; undefined when nobody does. */
  reserverOf(entry: DesiredEntry, except?: string): PowerHolder | undefined {
    return this.#powers.holderAbove(entry.spiffeId, rankOf(entry), except);
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
    const next = present === undefined ? [claim] : [...present, claim].sort(compareClaims);
    this.#change(claim, next, () => this.#powers.add(claim));
  }

  remove(claim: Claim): void {
    const next = this.claims(claim.entry.key).filter((each) => each !== claim);
    this.#change(claim, next, () => this.#powers.remove(claim));
  }

  #change({ entry: { key, spiffeId } }: Claim, next: readonly Claim[], change: () => void): void {
    const before = this.#powers.rankAt(spiffeId);
    change();
    const ranks = { before, after: this.#powers.rankAt(spiffeId) };
    // The others first: what loses the ID is told before what gets power with it.
    if (ranks.before !== ranks.after) this.#shift(spiffeId, key, ranks);
    this.#replace(key, next, ranks);
    this.#linkId(spiffeId, key);
  }

  /** What all other entries of an ID come to when its power changes. */
  #shift(spiffeId: string, changed: string, ranks: Ranks): void {
    for (const key of this.#keysOfId.get(spiffeId) ?? []) if (key !== changed) this.#replace(key, this.claims(key), ranks);
    for (const claim of this.claimsOfId(spiffeId)) this.#listeners.onShifted(claim);
  }

  #linkId(spiffeId: string, key: string): void {
    const keys = this.#keysOfId.get(spiffeId);
    if (this.#claims.has(key)) {
      if (keys === undefined) this.#keysOfId.set(spiffeId, new Set([key]));
      else keys.add(key);
      return;
    }
    keys?.delete(key);
    if (keys?.size === 0) this.#keysOfId.delete(spiffeId);
  }

  #replace(key: string, next: readonly Claim[], { before, after }: Ranks): void {
    const present = this.claims(key);
    this.#count(present, before, -1);
    this.#count(next, after, 1);
    if (next.length === 0) this.#claims.delete(key);
    else this.#claims.set(key, next);
    const [was, is] = [holding(present, before), holding(next, after)];
    this.#held += Number(is !== undefined) - Number(was !== undefined);
    if (changed(was, is)) this.#changedKeys.add(key);
  }

  #count(claims: readonly Claim[], rank: number, by: 1 | -1): void {
    const winner = holding(claims, rank);
    for (const claim of claims) {
      const { declarer } = claim;
      if (claim === winner) declarer.entriesToSet += by;
      else if (rankOf(claim.entry) < rank) declarer.entriesReserved += by;
      else declarer.entriesMasked += by;
      this.#listeners.onCounted(declarer);
    }
  }
}

/** The claim that holds when the ID has this rank. */
function holding([first]: readonly Claim[], rank: number): Claim | undefined {
  return first !== undefined && rankOf(first.entry) === rank ? first : undefined;
}

function compareClaims(one: Claim, other: Claim): number {
  return rankOf(other.entry) - rankOf(one.entry) || comparePrecedence(one.declarer.precedence, other.declarer.precedence);
}

function changed(before: Claim | undefined, after: Claim | undefined): boolean {
  if (before === after) return false;
  if (before === undefined || after === undefined) return true;
  return fieldsFingerprint(before.entry) !== fieldsFingerprint(after.entry);
}
