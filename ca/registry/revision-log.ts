/**
 * Names in order of their last change, so that what changed since a revision is found without a look at the rest. Names of what
 * is gone stay until {@link forget}.
 */
export class RevisionLog {
  #names: string[] = [];
  #revisions: number[] = [];
  readonly #places = new Map<string, number>();

  /** How many names there are, of what is gone too. */
  get size(): number {
    return this.#places.size;
  }

  /** Notes that a name changed, or may have. Revisions come in order. */
  touch(name: string, revision: number): void {
    // A revision that comes late is taken for the last one: to say of something that it changed later is always right.
    this.#revisions.push(Math.max(revision, this.#revisions.at(-1) ?? 0));
    this.#places.set(name, this.#names.push(name) - 1);
    if (this.#names.length > 64 && this.#names.length > 2 * this.#places.size) this.#rebuild(() => true);
  }

  /** Names that changed after a revision, each once. */
  *since(revision: number): Generator<string, void, undefined> {
    for (let place = this.#placeAfter(revision); place < this.#names.length; place += 1) {
      const name = this.#names[place] ?? '';
      if (this.#places.get(name) === place) yield name;
    }
  }

  /** Leaves names out. @returns up to which revision changes of them may be unknown now */
  forget(isForgettable: (name: string) => boolean): number {
    let floor = 0;
    this.#rebuild((name, revision) => {
      if (!isForgettable(name)) return true;
      floor = Math.max(floor, revision);
      return false;
    });
    return floor;
  }

  #placeAfter(revision: number): number {
    let low = 0;
    let high = this.#revisions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#revisions[middle] ?? 0) > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #rebuild(isKept: (name: string, revision: number) => boolean): void {
    const kept = this.#names.flatMap((name, place) => {
      const revision = this.#revisions[place] ?? 0;
      return this.#places.get(name) === place && isKept(name, revision) ? [{ name, revision }] : [];
    });
    this.#names = kept.map(({ name }) => name);
    this.#revisions = kept.map(({ revision }) => revision);
    this.#places.clear();
    for (const [place, { name }] of kept.entries()) this.#places.set(name, place);
  }
}
