import { Current, type Source } from '../../core/current.ts';
import type { Logger } from '../../runtime/log.ts';
import { selectorsOfKey } from '../identity/entry-key.ts';
import type { DesiredEntries } from './entry-changes.ts';

/** What becomes of many entries at once that begin with our prefix and that nothing declares. */
export type MassDeletion = 'refuse' | 'allow';

/** What {@link HeldDeletions} needs. */
export interface HeldDeletionsOptions {
  readonly massDeletion: MassDeletion;
  readonly desired: DesiredEntries;
  /** What the IDs of our entries begin with, the dot included. */
  readonly prefix: string;
  readonly log: Logger;
}

/** So few may go without asking, however small their number makes the rest. */
const FEW = 10;

/**
 * The entries that are not deleted although nothing declares them: so many that they rather are another controller's, which has
 * the same prefix. What is deleted because a resource went while this process ran is never among them.
 */
export class HeldDeletions {
  readonly #options: HeldDeletionsOptions;
  readonly #keys = new Set<string>();
  readonly #problem = new Current<string | undefined>(undefined);

  constructor(options: HeldDeletionsOptions) {
    this.#options = options;
  }

  /** What is held back and what to do about it; undefined when nothing is. */
  get problem(): Source<string | undefined> {
    return this.#problem;
  }

  get size(): number {
    return this.#keys.size;
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** Begins anew with what is at the CA under our prefix: more than half of it is not deleted at once. */
  begin(known: readonly string[]): void {
    this.clear();
    const undeclared = this.#undeclared(known);
    if (!isMany(undeclared, known)) return;
    // An entry for a workload that has another one now was ours: its template, parent or trust domain changed.
    const selectors = new Set(Iterator.from(this.#options.desired.keys()).map(selectorsOfKey));
    const strangers = undeclared.filter((key) => !selectors.has(selectorsOfKey(key)));
    if (isMany(strangers, known)) this.#hold(strangers);
  }

  /** Takes note of entries that came to be there without us: many at once, or any while others are held, are held as well. */
  appeared(keys: readonly string[]): void {
    const strangers = this.#undeclared(keys).filter((key) => !this.#keys.has(key));
    if (strangers.length > FEW || (this.#keys.size > 0 && strangers.length > 0)) this.#hold(strangers);
  }

  /** Forgets those that are declared (again), or gone. */
  release(keys: readonly string[]): void {
    if (keys.filter((key) => this.#keys.delete(key)).length > 0) this.#tell();
  }

  clear(): void {
    this.#keys.clear();
    this.#tell();
  }

  #undeclared(keys: readonly string[]): readonly string[] {
    return keys.filter((key) => this.#options.desired.desired(key) === undefined);
  }

  #hold(keys: readonly string[]): void {
    const { massDeletion, log } = this.#options;
    if (massDeletion === 'allow') return log.warn({ count: keys.length }, 'many entries are deleted: massDeletion allows it');
    for (const key of keys) this.#keys.add(key);
    this.#tell();
    log.error({ count: keys.length, held: this.#keys.size }, this.#problem.value ?? '');
  }

  #tell(): void {
    this.#problem.set(this.#keys.size === 0 ? undefined : problemOf(this.#keys.size, this.#options.prefix));
  }
}

function isMany(some: readonly string[], all: readonly string[]): boolean {
  return some.length > FEW && some.length * 2 > all.length;
}

function problemOf(count: number, prefix: string): string {
  return (
    `${count} entries at the CA begin with "${prefix}" and nothing here declares them; they are kept, since they may be another controller's. ` +
    'If one has the same entryIdPrefix, give one of the two another; if resources are missing here, bring them back; ' +
    'if the entries are to go, see what --plan says and start with massDeletion: allow'
  );
}
