import type { Trim } from '../ports.ts';
import { covers, EVERYTHING, intersectTrim, type Needs } from './trim.ts';

/** How much of pods and nodes was kept when they were read: what a template that comes later may lack. */
export class KeptParts {
  readonly #needs: () => Needs;
  /** What every pod, and every node, that was read has been kept of; nothing has been read yet. */
  #kept: Needs = { pod: EVERYTHING, node: EVERYTHING };

  /** @param needs tells what the declarations need now */
  constructor(needs: () => Needs) {
    this.#needs = needs;
  }

  /** What to keep of an object that is being read. */
  take(of: keyof Needs): Trim {
    const needed = this.#needs()[of];
    if (!covers(needed, this.#kept[of])) this.#kept = { ...this.#kept, [of]: intersectTrim(this.#kept[of], needed) };
    return needed;
  }

  /** What has to be read again because less was kept of it than is needed now; told once, it counts as not read. */
  takeLacking(): readonly (keyof Needs)[] {
    const needs = this.#needs();
    const parts: readonly (keyof Needs)[] = ['pod', 'node'];
    const lacking = parts.filter((of) => !covers(this.#kept[of], needs[of]));
    for (const of of lacking) this.#kept = { ...this.#kept, [of]: EVERYTHING };
    return lacking;
  }
}
