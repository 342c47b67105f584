import type { CompiledRule } from '../../../policy/compile/policy.ts';
import { all, any, ALWAYS, type Condition, NEVER } from './condition.ts';
import { operationCondition } from './operation-conditions.ts';
import type { RuleContext } from './rule-context.ts';
import { sourceCondition } from './source-conditions.ts';

/** A rule in its two parts; both must hold. */
export interface RuleCondition {
  readonly who: Condition;
  readonly what: Condition;
}

/** A rule in Envoy's words. What Envoy cannot see (users, conditions in CEL, relations) counts as the bias says. */
export function ruleCondition(
  { spec, problems }: CompiledRule,
  context: Omit<RuleContext, 'namespace'>,
  namespace: string,
): RuleCondition {
  const complete = { ...context, namespace };
  const broken = new Set(problems.map(({ path }) => path));
  const unseen = spec.when !== undefined || spec.relations !== undefined;
  const from = spec.from?.map((clause) => sourceCondition(clause, complete));
  const to = spec.to?.map((clause, index) =>
    // A clause that could not be compiled can no more be told.
    broken.has(`to[${index}]`) ? biased(context) : operationCondition(clause, complete),
  );
  return {
    who: from === undefined ? ALWAYS : any(...from),
    what: all(to === undefined ? ALWAYS : any(...to), unseen ? biased(context) : ALWAYS),
  };
}

function biased({ bias }: Pick<RuleContext, 'bias'>): Condition {
  return bias ? ALWAYS : NEVER;
}
