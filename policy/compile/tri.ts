import type { Call } from '../model.ts';

/**
 * What is known of a condition, ordered so that "all of" is the minimum and "any of" the maximum (Kleene's logic). UNKNOWN comes
 * only from what a recording lacks: what can be read in two ways counts as the {@link Bias} says.
 */
export type Tri = 0 | 1 | 2;

export const NO = 0;
export const UNKNOWN = 1;
export const YES = 2;

/**
 * What a condition counts as when it cannot be judged: NO for an ALLOW rule, YES for DENY and AUDIT. So no policy ever lets more in than
 * is written.
 */
export type Bias = typeof NO | typeof YES;

/** A condition on calls. */
export type Test = (call: Call) => Tri;

/** Every condition must hold. */
export function allOf(tests: readonly Test[]): Test {
  const [first, second] = tests;
  if (first === undefined) return () => YES;
  if (second === undefined) return first;
  return (call) => {
    let least: Tri = YES;
    for (const test of tests) {
      const each = test(call);
      if (each === NO) return NO;
      if (each < least) least = each;
    }
    return least;
  };
}

/** Any condition must hold. */
export function anyOf(tests: readonly Test[]): Test {
  const [first, second] = tests;
  if (first !== undefined && second === undefined) return first;
  return (call) => {
    let most: Tri = NO;
    for (const test of tests) {
      const each = test(call);
      if (each === YES) return YES;
      if (each > most) most = each;
    }
    return most;
  };
}
