import { Current, type Source } from '../../core/current.ts';
import type { Logger } from '../../runtime/log.ts';

/** What becomes of many things of ours at once that nothing declares. */
export type MassDeletion = 'refuse' | 'allow';

/** What {@link HeldDeletions} needs. */
export interface HeldDeletionsOptions {
  readonly massDeletion: MassDeletion;
  /** What ought to be there. */
  readonly desired: { desired(key: string): unknown; keys(): Iterable<string> };
  /** What is the same of two keys of which one took the place of the other; the whole key unless given. */
  readonly kinOf?: (key: string) => string;
  /** What is kept, why and what to do, in a sentence. */
  readonly describe: (count: number) => string;
  readonly log: Logger;
}

/** So few may go without asking, however small their number makes the rest. */
const FEW = 10;

/**
 * What is not deleted although nothing declares it: so many that they rather are another controller's, which has the same prefix.
 * What is deleted because a resource went while this process ran is never among them.
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

  /** Begins anew with what is at the CA of ours: more than half of it is not deleted at once. */
  begin(known: readonly string[]): void {
    this.clear();
    const undeclared = this.#undeclared(known);
    if (!isMany(undeclared, known)) return;
    // What has kin that is declared was ours: its template, parent or trust domain changed.
    const { desired, kinOf = (key) => key } = this.#options;
    const kin = new Set(Iterator.from(desired.keys()).map(kinOf));
    const strangers = undeclared.filter((key) => !kin.has(kinOf(key)));
    if (isMany(strangers, known)) this.#hold(strangers);
  }

  /** Takes note of what came to be there without us: many at once, or any while others are held, are held as well. */
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
    if (massDeletion === 'allow') return log.warn({ count: keys.length }, 'many are deleted at once: massDeletion allows it');
    for (const key of keys) this.#keys.add(key);
    this.#tell();
    log.error({ count: keys.length, held: this.#keys.size }, this.#problem.value ?? '');
  }

  #tell(): void {
    this.#problem.set(this.#keys.size === 0 ? undefined : this.#options.describe(this.#keys.size));
  }
}

function isMany(some: readonly string[], all: readonly string[]): boolean {
  return some.length > FEW && some.length * 2 > all.length;
}
