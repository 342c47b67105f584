import { Fault } from './template-error.ts';
import type { Result } from './value.ts';

/** One step is one node of the template, one element gone through, or some 64 characters of work. A usual template takes ten. */
const MAX_STEPS = 2_000;

/** Longest text that a template may make, in UTF-16 units. A SPIFFE ID has at most 2,048 bytes. */
const MAX_LENGTH = 65_536;

/** What the templates of one entry may take together, so that no declaration can hang or fill the process that renders it. */
export class Budget {
  #steps = MAX_STEPS;

  /** How many steps were taken. */
  get spent(): number {
    return MAX_STEPS - this.#steps;
  }

  /** @throws {Fault} `limit` when the rendering has taken too many steps. */
  spend(steps = 1): void {
    this.#steps -= steps;
    if (this.#steps >= 0) return;
    this.#steps = 0;
    throw new Fault('limit', `the templates of one entry take more than ${MAX_STEPS} steps`);
  }

  /** Pays for text that was made or read. */
  text<T extends string>(text: T): T {
    if (text.length > MAX_LENGTH) throw new Fault('limit', `the template makes more than ${MAX_LENGTH} characters`);
    this.spend(1 + (text.length >> 6));
    return text;
  }

  /** Pays for reading a value: by its length where it has one. */
  read(value: Result): Result {
    if (value === undefined) return value;
    const { kind, data } = value;
    if (kind === 'string') this.spend(1 + (data.length >> 6));
    else if (kind === 'slice') this.spend(1 + (data?.length ?? 0));
    else if (kind === 'map') this.spend(1 + Object.keys(data ?? {}).length);
    return value;
  }
}
