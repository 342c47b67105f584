import type { DesiredEntry, Problem } from '../ports.ts';
import type { Claims } from './claims.ts';
import { declarationKey } from './declaration-store.ts';
import type { Precedence } from './precedence.ts';
import type { Claim, Declarer } from './slots.ts';

interface StaticState extends Declarer {
  readonly claim: Claim;
}

/** What became of the one entry of a static declaration. */
export type StaticCounts = Pick<Declarer, 'entriesToSet' | 'entriesMasked' | 'entriesReserved'>;

/** The entries that are declared as they stand, by the key of the object that declares each. */
export class StaticStore {
  readonly #claims: Claims;
  readonly #byKey = new Map<string, StaticState>();

  constructor(claims: Claims) {
    this.#claims = claims;
  }

  has(key: string): boolean {
    return this.#byKey.has(key);
  }

  counts(key: string): StaticCounts | undefined {
    return this.#byKey.get(key);
  }

  /** Which other object's entry keeps it from being; undefined when none does. */
  problemOf(key: string): Problem | undefined {
    const state = this.#byKey.get(key);
    return state && this.#claims.problemOf(state.claim);
  }

  put(declarer: Precedence, entry: DesiredEntry): void {
    const key = declarationKey(declarer);
    const present = this.#byKey.get(key);
    const state = { key, precedence: declarer, entriesToSet: 0, entriesMasked: 0, entriesReserved: 0 };
    const claim: Claim = { entry, declarer: state, pod: '' };
    this.#byKey.set(key, Object.assign(state, { claim }));
    // First the new one: where the key stays, nothing must look as if the entry had gone.
    this.#claims.add(claim);
    if (present !== undefined) this.#claims.remove(present.claim);
    this.#claims.markDeclarer(key);
  }

  remove(key: string): void {
    const present = this.#byKey.get(key);
    if (present === undefined) return;
    this.#byKey.delete(key);
    this.#claims.remove(present.claim);
  }
}
