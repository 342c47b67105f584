import { any, type Condition, principal, type TextCondition } from './condition.ts';
import { escaped } from './path-text.ts';

// Up to so many become expressions that every Envoy takes: its limit is 100 instructions unless its runtime says otherwise.
const FEW = 8;
const COST_OF_FEW = 70;
// What docs/envoy.md has Envoys allow is half as much again.
const MOST = 6000;
// About the instructions of an expression for one more alternative.
const ALTERNATIVE_COST = 2;

/**
 * Any of the callers. Of many, names and patterns become one expression: whenever a comparison with the caller fails, Envoy reads the
 * certificate again in search of other names, which costs more than the comparison.
 *
 * @param maxCost how much an expression may cost; what costs more becomes several
 */
export function anyCaller(callers: readonly Condition[], { maxCost }: { readonly maxCost: number }): Condition {
  const flat = callers.flatMap((each) => (each.kind === 'any' ? each.of : [each]));
  const expressions = flat.map(expressionOf);
  const others = flat.filter((_, index) => expressions[index] === undefined);
  const told = new Map(flat.flatMap((each, index) => entryOf(expressions[index], each)));
  const parts = inParts([...told.keys()].sort(), Math.min(maxCost, told.size > FEW ? MOST : COST_OF_FEW));
  return any(...parts.map((part) => partOf(part, told)), ...others);
}

function expressionOf(condition: Condition): string | undefined {
  if (condition.kind !== 'principal') return undefined;
  const { text } = condition;
  if ('regex' in text) return text.regex;
  if (text.ignoreCase === true) return undefined;
  if ('exact' in text) return escaped(text.exact);
  return 'prefix' in text ? `${escaped(text.prefix)}(?s:.*)` : undefined;
}

function entryOf(expression: string | undefined, condition: Condition): [string, Condition][] {
  return expression === undefined ? [] : [[expression, condition]];
}

function partOf(expressions: readonly string[], told: ReadonlyMap<string, Condition>): Condition {
  const [only = '', second] = expressions;
  const alone = told.get(only);
  if (second === undefined && alone !== undefined) return alone;
  const text: TextCondition = { regex: `(?:${expressions.join('|')})` };
  return principal(text);
}

/** Expressions in their order, in parts none of which costs too much, unless it is one alone. */
function inParts(sorted: readonly string[], maxCost: number): string[][] {
  const parts: string[][] = [];
  let cost = Infinity;
  let before = '';
  for (const each of sorted) {
    // RE2 has what alternatives begin with in common once.
    const more = ALTERNATIVE_COST + each.length;
    cost += more - sharedLength(before, each);
    before = each;
    if (cost <= maxCost) parts.at(-1)?.push(each);
    else {
      parts.push([each]);
      cost = more;
    }
  }
  return parts;
}

function sharedLength(one: string, other: string): number {
  let length = 0;
  while (length < one.length && one[length] === other[length]) length += 1;
  return length;
}
