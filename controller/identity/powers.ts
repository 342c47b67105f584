import type { DesiredEntry } from '../ports.ts';
import { comparePrecedence, type Precedence } from './precedence.ts';

/** Who gives an ID power. */
export interface PowerHolder {
  /** Among all declaring objects. */
  readonly key: string;
  readonly precedence: Precedence;
}

/** An entry, with who declares it. */
interface Grant {
  readonly entry: DesiredEntry;
  readonly declarer: PowerHolder;
}

interface Holding {
  readonly declarer: PowerHolder;
  readonly rank: number;
  count: number;
}

/**
 * What an entry may do at the CA beyond having its ID: 0 nothing, 1 `downstream`, 2 `admin`, 3 both. Whoever has a SPIFFE ID has
 * the power of it, whichever entry it comes from, so that of several entries with one ID only those of the highest rank may be.
 */
export function rankOf({ admin, downstream }: Pick<DesiredEntry, 'admin' | 'downstream'>): number {
  return (admin ? 2 : 0) + (downstream ? 1 : 0);
}

/** Which SPIFFE IDs are declared to have power, and by whom. */
export class Powers {
  /** By SPIFFE ID, then by rank and declarer. IDs without power are not in it: nearly all of them. */
  readonly #holdings = new Map<string, Map<string, Holding>>();

  /** The highest rank that is declared for an ID; 0 for one without power. */
  rankAt(spiffeId: string): number {
    let rank = 0;
    for (const holding of this.#holdings.get(spiffeId)?.values() ?? []) rank = Math.max(rank, holding.rank);
    return rank;
  }

  /** The oldest object that declares the highest rank for an ID, above `rank`; that of the key `except` does not count. */
  holderAbove(spiffeId: string, rank: number, except?: string): PowerHolder | undefined {
    const above = Iterator.from(this.#holdings.get(spiffeId)?.values() ?? [])
      .filter((holding) => holding.rank > rank && holding.declarer.key !== except)
      .toArray();
    return above.sort(
      (one, other) => other.rank - one.rank || comparePrecedence(one.declarer.precedence, other.declarer.precedence),
    )[0]?.declarer;
  }

  add({ entry, declarer }: Grant): void {
    const rank = rankOf(entry);
    if (rank === 0) return;
    const holdings = this.#holdings.get(entry.spiffeId) ?? new Map<string, Holding>();
    this.#holdings.set(entry.spiffeId, holdings);
    const present = holdings.get(holdingKey(rank, declarer));
    if (present === undefined) holdings.set(holdingKey(rank, declarer), { declarer, rank, count: 1 });
    else present.count += 1;
  }

  remove({ entry, declarer }: Grant): void {
    const holdings = this.#holdings.get(entry.spiffeId);
    const key = holdingKey(rankOf(entry), declarer);
    const present = holdings?.get(key);
    if (holdings === undefined || present === undefined) return;
    present.count -= 1;
    if (present.count === 0) holdings.delete(key);
    if (holdings.size === 0) this.#holdings.delete(entry.spiffeId);
  }
}

function holdingKey(rank: number, { key }: PowerHolder): string {
  return `${rank} ${key}`;
}
