import { Fault } from './template-error.ts';

/** One step is one node of the template, or some 64 characters of work. A usual template takes ten. */
const MAX_STEPS = 100_000;

/** Longest text that a template may make, in UTF-16 units. A SPIFFE ID has at most 2,048 bytes. */
const MAX_LENGTH = 65_536;

/** What one rendering may take, so that no template can hang or fill the process that renders it. */
export class Budget {
  #steps = MAX_STEPS;

  /** @throws {Fault} `limit` when the rendering has taken too many steps. */
  spend(steps = 1): void {
    this.#steps -= steps;
    if (this.#steps < 0) throw new Fault('limit', `the template takes more than ${MAX_STEPS} steps`);
  }

  /** Pays for text that was made or read. */
  text<T extends string>(text: T): T {
    if (text.length > MAX_LENGTH) throw new Fault('limit', `the template makes more than ${MAX_LENGTH} characters`);
    this.spend(1 + (text.length >> 6));
    return text;
  }
}
