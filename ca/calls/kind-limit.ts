/** Which kinds of calls a destination had in an hour. */
export type KnownKinds = ReadonlyMap<string, ReadonlySet<string>>;

const MOST_REMEMBERED = 200_000;

/** The kinds that were stored for each hour and destination, so that a flood of kinds of calls ends somewhere. */
export class KindLimit {
  /** Kinds of calls to one destination in one hour that are told apart. */
  readonly most: number;
  #known = new Map<string, Set<string>>();
  #size = 0;

  constructor(most: number) {
    this.most = most;
  }

  /** Whether the kinds of this hour and destination were read from the store. */
  knows(place: string): boolean {
    return this.#known.has(place);
  }

  /** Notes what the store has. */
  note(place: string, kindIds: Iterable<string>): void {
    const known = this.#known.get(place) ?? new Set();
    this.#known.set(place, known);
    for (const id of kindIds) {
      if (!known.has(id)) this.#size += 1;
      known.add(id);
    }
  }

  has(place: string, kindId: string): boolean {
    return this.#known.get(place)?.has(kindId) ?? false;
  }

  /** How many more kinds may come. */
  room(place: string): number {
    return this.most - (this.#known.get(place)?.size ?? 0);
  }

  /** Forgets all when it has become too much: what is needed is read again. */
  trim(): void {
    if (this.#size > MOST_REMEMBERED) this.clear();
  }

  clear(): void {
    this.#known = new Map();
    this.#size = 0;
  }
}
