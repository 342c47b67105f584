/**
 * Names in order of their last change, so that what changed since a revision is found without a look at the rest. Names of what
 * is gone stay until {@link forget}.
 */
export class RevisionLog {
  #names: string[] = [];
  #revisions: number[] = [];
  /** How many changes were noted up to each. */
  #marks: number[] = [];
  readonly #places = new Map<string, number>();
  #forgottenMark = 0;

  /** How many names there are, of what is gone too. */
  get size(): number {
    return this.#places.size;
  }

  /** How many changes were noted so far: a place in the log, which also tells apart what has one revision. */
  get mark(): number {
    return Math.max(this.#marks.at(-1) ?? 0, this.#forgottenMark);
  }

  /** Notes that a name changed, or may have. Revisions come in order. */
  touch(name: string, revision: number): void {
    // A revision that comes late is taken for the last one: to say of something that it changed later is always right.
    this.#marks.push(this.mark + 1);
    this.#revisions.push(Math.max(revision, this.#revisions.at(-1) ?? 0));
    this.#places.set(name, this.#names.push(name) - 1);
    if (this.#names.length > 64 && this.#names.length > 2 * this.#places.size) this.#rebuild(() => true);
  }

  /** Names that changed after a revision, each once. */
  since(revision: number): Iterable<string> {
    return this.#from(placeAfter(this.#revisions, revision));
  }

  /** Names that changed after a {@link mark}, each once. */
  sinceMark(mark: number): Iterable<string> {
    return this.#from(placeAfter(this.#marks, mark));
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

  *#from(start: number): Generator<string, void, undefined> {
    for (let place = start; place < this.#names.length; place += 1) {
      const name = this.#names[place] ?? '';
      if (this.#places.get(name) === place) yield name;
    }
  }

  #rebuild(isKept: (name: string, revision: number) => boolean): void {
    this.#forgottenMark = this.mark;
    const kept = this.#names.flatMap((name, place) => {
      const revision = this.#revisions[place] ?? 0;
      const isLatest = this.#places.get(name) === place;
      return isLatest && isKept(name, revision) ? [{ name, revision, mark: this.#marks[place] ?? 0 }] : [];
    });
    this.#names = kept.map(({ name }) => name);
    this.#revisions = kept.map(({ revision }) => revision);
    this.#marks = kept.map(({ mark }) => mark);
    this.#places.clear();
    for (const [place, { name }] of kept.entries()) this.#places.set(name, place);
  }
}

/** Where in a list of numbers in order the first above a number is. */
function placeAfter(numbers: readonly number[], least: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((numbers[middle] ?? 0) > least) high = middle;
    else low = middle + 1;
  }
  return low;
}
