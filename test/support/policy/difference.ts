/** Calls of the conformance table that come to another answer at an enforcement point than from the engine alone, for one reason. */
export interface Difference {
  readonly reason: string;
  /** Title of the scenario, the call as the table has it, and the answer at the point. */
  readonly calls: readonly (readonly [title: string, call: string, answer: string])[];
}

/** Titles of scenarios that differences are about. */
export const METHODS = 'Methods';
export const HOSTS = 'Hosts';
export const AGREE = 'Host and :authority must agree';
export const REPEATED = 'Headers that must not be repeated';
export const PATHS = 'Paths are normalised once, before matching';
export const TRICKS = 'Tricks around a DENY';
