/** What of a foreign resource was not carried over as it stood. */
export interface Loss {
  /** The foreign resource, such as `AuthorizationPolicy shop/orders`. */
  readonly resource: string;
  /** Where in it, such as `spec.rules[0].when[1]`. */
  readonly field: string;
  /** What became of it. No effect lets more in than the foreign resource did. */
  readonly effect: 'rule dropped' | 'value dropped' | 'denies more' | 'allows less' | 'not carried over';
  readonly why: string;
}

/** Resources of ours, and what they lack. */
export interface Imported {
  readonly resources: readonly object[];
  readonly losses: readonly Loss[];
}

/** A foreign value in our words: each pattern stands for some of what the value stood for, all of them for everything where `isExact`. */
export interface Translated<T> {
  readonly patterns: readonly T[];
  readonly isExact: boolean;
}

/** Nothing of ours stands for the value. */
export const LOST: Translated<never> = { patterns: [], isExact: false };
/** These stand for the value, and for nothing else. */
export const exactly = <T>(...patterns: readonly T[]): Translated<T> => ({ patterns, isExact: true });
/** These stand for a part of it. */
export const partly = <T>(...patterns: readonly T[]): Translated<T> => ({ patterns, isExact: false });
