/** Something with a place in the order of creation. */
export interface Positioned {
  readonly position: number;
}

/** Records in order of their position, so that a page can begin after any position: also after one that is gone by then. */
export class OrderedRecords<R extends Positioned> {
  #slots: (R | undefined)[] = [];
  // Positions beside the slots: a removed record's place must stay findable.
  #positions: number[] = [];
  #holes = 0;
  #sorted = true;

  get size(): number {
    return this.#slots.length - this.#holes;
  }

  add(record: R): void {
    const last = this.#positions.at(-1);
    if (last !== undefined && last >= record.position) {
      if (this.#fillHole(record)) return;
      this.#sorted = false;
    }
    this.#slots.push(record);
    this.#positions.push(record.position);
  }

  remove(record: R): void {
    this.#sort();
    const index = this.#indexAfter(record.position - 1);
    if (this.#slots[index] !== record) return;
    this.#slots[index] = undefined;
    this.#holes += 1;
    if (this.#holes > 64 && this.#holes * 2 > this.#slots.length) this.#rebuild();
  }

  /** The records beyond a position, in order. */
  *after(position: number): Generator<R, void, undefined> {
    this.#sort();
    for (let index = this.#indexAfter(position); index < this.#slots.length; index += 1) {
      const record = this.#slots[index];
      if (record !== undefined) yield record;
    }
  }

  /** An updated record comes back to the place it just left. */
  #fillHole(record: R): boolean {
    if (!this.#sorted) return false;
    const index = this.#indexAfter(record.position - 1);
    if (this.#positions[index] !== record.position || this.#slots[index] !== undefined) return false;
    this.#slots[index] = record;
    this.#holes -= 1;
    return true;
  }

  #indexAfter(position: number): number {
    let low = 0;
    let high = this.#positions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#positions[middle] ?? 0) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #sort(): void {
    if (this.#sorted) return;
    this.#rebuild();
    this.#sorted = true;
  }

  #rebuild(): void {
    const records = this.#slots.filter((slot) => slot !== undefined).sort((a, b) => a.position - b.position);
    this.#slots = records;
    this.#positions = records.map(({ position }) => position);
    this.#holes = 0;
  }
}
