// Go's built-in template functions. SPIRE's controller manager adds none.
import type { Budget } from './budget.ts';
import { indexed, lengthOf, sliced } from './collections.ts';
import { equalsAny, less, lessOrEqual } from './comparison.ts';
import { htmlEscaped, jsEscaped, queryEscaped } from './escape.ts';
import { actionText, plainText, printed } from './print.ts';
import { formatted } from './printf.ts';
import { boolValue, indirect, intValue, isTrue, type Result, stringValue, type Value } from './value.ts';

/** A function of a template. */
export interface Builtin {
  readonly minimum: number;
  readonly maximum: number;
  /** Whether the first argument must be of type string. */
  readonly takesString?: boolean;
  /** Whether it prints its arguments. */
  readonly prints?: boolean;
  /** Stops at the first argument that decides: the others are not even evaluated. */
  readonly decides?: (value: Result) => boolean;
  readonly call: (values: readonly Result[], budget: Budget) => Result;
}

const MANY = Number.POSITIVE_INFINITY;

/** By name; `call` is missing: no template here has a function to call. */
export const BUILTINS: ReadonlyMap<string, Builtin> = new Map<string, Builtin>([
  ['and', { minimum: 1, maximum: MANY, decides: (value) => !isTrue(value), call: (values) => values.at(-1) }],
  ['or', { minimum: 1, maximum: MANY, decides: (value) => isTrue(value), call: (values) => values.at(-1) }],
  ['not', { minimum: 1, maximum: 1, call: ([value], budget) => boolValue(!isTrue(paid(value, budget))) }],
  ['len', { minimum: 1, maximum: 1, call: ([value], budget) => intValue(lengthOf(paid(value, budget))) }],
  ['index', { minimum: 1, maximum: MANY, call: ([item, ...rest], budget) => indexed(paid(item, budget), rest) }],
  ['slice', { minimum: 1, maximum: MANY, call: ([item, ...rest], budget) => sliced(paid(item, budget), rest) }],
  ['print', text((values) => printed(values))],
  ['println', text((values) => `${values.map(plainText).join(' ')}\n`)],
  [
    'printf',
    {
      ...text(([format, ...values]) => formatted(format?.kind === 'string' ? format.data : '', values)),
      minimum: 1,
      prints: false,
      takesString: true,
    },
  ],
  ['html', text((values) => htmlEscaped(argumentsText(values)))],
  ['js', text((values) => jsEscaped(argumentsText(values)))],
  ['urlquery', text((values) => queryEscaped(argumentsText(values)))],
  ['eq', comparison(([left, ...others]) => equalsAny(left, others), MANY)],
  ['ne', comparison(([left, right]) => !equalsAny(left, [right]))],
  ['lt', comparison(([left, right]) => less(left, right))],
  ['le', comparison(([left, right]) => lessOrEqual(left, right))],
  ['gt', comparison(([left, right]) => !lessOrEqual(left, right))],
  ['ge', comparison(([left, right]) => !less(left, right))],
]);

function text(make: (values: readonly Result[]) => string): Builtin {
  const call = (values: readonly Result[], budget: Budget): Value => {
    for (const value of values) paid(value, budget);
    return stringValue(budget.text(make(values)));
  };
  return { minimum: 0, maximum: MANY, prints: true, call };
}

function comparison(compare: (values: readonly Result[]) => boolean, maximum = 2): Builtin {
  const call = (values: readonly Result[], budget: Budget): Value => {
    for (const value of values) paid(value, budget);
    return boolValue(compare(values));
  };
  return { minimum: maximum === 2 ? 2 : 1, maximum, call };
}

/** Arguments as an action would print them: pointers are followed, none is `<no value>`. */
function argumentsText(values: readonly Result[]): string {
  const shown = values.map((value) => (value === undefined ? stringValue(actionText(value)) : indirect(value)));
  return printed(shown);
}

/** Pays for reading a value, and for what a pointer leads to. */
function paid(value: Result, budget: Budget): Result {
  budget.read(value === undefined ? value : indirect(value));
  return value;
}
