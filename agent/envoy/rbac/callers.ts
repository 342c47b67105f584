import { anyOf, inParts } from './alternatives.ts';
import { any, type Condition, principal } from './condition.ts';
import { escaped } from './path-text.ts';

// Up to so many become expressions that every Envoy takes: its limit is 100 instructions unless its runtime says otherwise.
const FEW = 8;
const COST_OF_FEW = 70;
// What docs/envoy.md has Envoys allow is half as much again.
const MOST = 6000;

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
  const parts = inParts([...told.keys()], Math.min(maxCost, told.size > FEW ? MOST : COST_OF_FEW));
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
  return principal({ regex: anyOf(expressions) });
}
