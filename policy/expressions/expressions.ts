import type { Call, CallField } from '../model.ts';

/** A condition in CEL, ready to be judged. */
export interface Condition {
  /** The parts of a call that it reads. */
  readonly fields: ReadonlySet<CallField>;
  /** Whether it holds; undefined where it fails, as over a claim that is not there. */
  readonly holds: (call: Call) => boolean | undefined;
}

/**
 * The languages in policies. Two libraries stand behind them, which cost start-up and memory: `loadExpressions` brings them in
 * where a policy needs them.
 */
export interface Expressions {
  /** @throws IdentityError `invalid_argument` for what is no condition, has a wrong type or could cost too much */
  condition(text: string): Condition;
  /** A test of whether a whole text matches. @throws IdentityError `invalid_argument` for what is no RE2 expression, or too large a one */
  regex(text: string): (text: string) => boolean;
}
