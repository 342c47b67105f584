/** What the templates of a team's entry may take on average, in steps: twice what eight selectors and a path need. */
const FAIR_STEPS = 500;

/** What a declaration may take beyond that before it is judged: a few milliseconds. */
const ALLOWANCE_STEPS = 20_000;

/**
 * What rendering a declaration for all its pods has taken. One entry is bounded by itself; this bounds what one team's declaration
 * takes away from all others when it comes near that bound for each of many pods. It counts steps, not time: the same objects
 * come to the same on every machine.
 */
export class RenderAccount {
  readonly #isBounded: boolean;
  #steps = 0;
  #renderings = 0;

  /** @param kind of the declaration; those of the cluster's operators are not bounded beyond the single entry */
  constructor(kind: string) {
    this.#isBounded = kind === 'WorkloadIdentity';
  }

  /** Whether it has taken more than its share: it is not rendered any more. */
  get isExhausted(): boolean {
    return this.#isBounded && this.#steps > ALLOWANCE_STEPS + FAIR_STEPS * this.#renderings;
  }

  /** Takes note of one rendering. */
  charge(steps: number): void {
    this.#steps += steps;
    this.#renderings += 1;
  }
}

/** What is told of a declaration whose account is exhausted. */
export const SUSPENDED_MESSAGE = `suspended: its templates take too much for all its pods together (more than ${FAIR_STEPS} steps for a pod on average); the entries that it has stay; write simpler templates`;
