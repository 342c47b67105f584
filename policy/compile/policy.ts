import type { CallField, Decision, PolicyName, RelationQuery, RuleReference } from '../model.ts';
import type { Policy } from '../policy.ts';
import { policyKey } from '../policy.ts';
import type { Expressions } from '../expressions/expressions.ts';
import type { RuleSpec } from '../resources/policy-spec.ts';
import { compileRule } from './rule.ts';
import type { Problem, RuleTests } from './rule.ts';
import { targetOf } from './target.ts';
import type { Target } from './target.ts';
import { NO, YES } from './tri.ts';

/** A rule, compiled. */
export interface CompiledRule extends RuleTests {
  readonly policy: CompiledPolicy;
  readonly spec: RuleSpec;
  readonly index: number;
  readonly reference: RuleReference;
  /** What is decided when it matches, made once. */
  readonly decision: Decision;
}

/** What of a policy cannot be enforced at a place that sees connections only. */
export interface Note {
  readonly code: 'unseen_on_connections';
  readonly rule: number;
  /** Where it is written, such as `to[0].paths`. */
  readonly paths: readonly string[];
  readonly message: string;
}

/** A policy, compiled. */
export interface CompiledPolicy {
  readonly key: string;
  readonly name: PolicyName;
  readonly source: Policy;
  readonly target: Target;
  readonly rules: readonly CompiledRule[];
  /** What could not be compiled: rules with it never match for ALLOW, and always for DENY. For the status of the policy. */
  readonly problems: readonly Problem[];
  /** For the status of the policy. */
  readonly notes: readonly Note[];
}

const NO_AUDITS: readonly RuleReference[] = [];

/** Compiles one policy; it never throws for what a policy may say. */
export function compilePolicy(source: Policy, expressions: Expressions): CompiledPolicy {
  const bias = source.action === 'ALLOW' ? NO : YES;
  const rules: CompiledRule[] = [];
  const tests = source.rules.map((rule) => compileRule(rule, { bias, namespace: source.name.namespace, expressions }));
  const policy: CompiledPolicy = {
    key: policyKey(source.name),
    name: source.name,
    source,
    target: targetOf(source),
    rules,
    problems: tests.flatMap(({ problems }, index) =>
      problems.map(({ path, message }) => ({ path: `spec.rules[${index}].${path}`, message })),
    ),
    notes: tests.flatMap((rule, index) => notesOf(rule, index, source.action)),
  };
  for (const [index, spec] of source.rules.entries()) {
    const test = tests[index];
    if (test !== undefined) rules.push(ruleOf(policy, test, { spec, index }));
  }
  return policy;
}

function ruleOf(policy: CompiledPolicy, tests: RuleTests, place: Pick<CompiledRule, 'spec' | 'index'>): CompiledRule {
  const { index } = place;
  const isAllow = policy.source.action === 'ALLOW';
  const decision: Decision = {
    verdict: isAllow ? 'allow' : 'deny',
    reason: isAllow ? 'allowed_by_rule' : 'denied_by_rule',
    policy: policy.name,
    rule: index,
    audits: NO_AUDITS,
  };
  return { ...tests, ...place, policy, reference: { policy: policy.name, rule: index }, decision };
}

const isOfRequest = (field: CallField): boolean => field.startsWith('request.') || field === 'user';

function notesOf({ from, to, when }: RuleTests, rule: number, action: Policy['action']): Note[] {
  const literals = [...from, ...to].flatMap((clause) => clause.literals);
  const paths = [...literals, ...(when === undefined ? [] : [when])]
    .filter(({ field }) => isOfRequest(field))
    .map(({ path }) => path);
  if (paths.length === 0) return [];
  const effect = action === 'ALLOW' ? 'the rule does not match there' : 'the rule holds for whole connections there';
  const message = `where only connections are seen, ${paths.join(', ')} cannot be judged: ${effect}`;
  return [{ code: 'unseen_on_connections', rule, paths, message }];
}

/** Queries of a rule for a call; none where it has no relations. */
export function queriesOf({ relations }: CompiledRule, call: Parameters<RuleTests['test']>[0]): readonly RelationQuery[] {
  return relations?.queries(call) ?? [];
}
