import type { CompiledPolicy, CompiledRule } from './compile/policy.ts';
import type { Literal } from './compile/literal.ts';
import { isUnseen } from './compile/literal.ts';
import type { Clause } from './compile/rule.ts';
import type { Snapshot } from './compile/snapshot.ts';
import { comparePolicies } from './compile/snapshot.ts';
import { NO, UNKNOWN, YES } from './compile/tri.ts';
import type { Tri } from './compile/tri.ts';
import { decide } from './decide.ts';
import type { Call, Decision, PolicyName } from './model.ts';

/** Whether something matches; `unknown` where the recording lacks what it depends on. */
export type Outcome = 'matches' | 'does_not_match' | 'unknown';

/** What one field of a rule came to, such as `to[0].paths`. */
export interface FieldExplanation {
  readonly path: string;
  readonly outcome: Outcome;
  /** The enforcement point cannot see it: it counts as matching for DENY and AUDIT, and as not matching for ALLOW. */
  readonly isUnseen: boolean;
}

/** What one rule came to. */
export interface RuleExplanation {
  readonly rule: number;
  readonly outcome: Outcome;
  /** Every field of the rule, in the order of the rule. */
  readonly fields: readonly FieldExplanation[];
}

/** What one policy came to. */
export interface PolicyExplanation {
  readonly policy: PolicyName;
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT';
  readonly mode: 'Enforce' | 'DryRun';
  /** Whether it is about the destination; the rules of one that is not were not looked at. */
  readonly selects: boolean;
  readonly rules: readonly RuleExplanation[];
}

/** Why a call is decided as it is. */
export interface Explanation {
  readonly decision: Decision;
  /** Every policy of the snapshot, in the order in which they decide. */
  readonly policies: readonly PolicyExplanation[];
}

/**
 * Explains one call: every policy, every rule and every field, and what came of it. Slower than `decide` by far, and of the same mind.
 *
 * @example
 * explain(snapshot, call).policies.find(({ selects }) => selects)?.rules[0]?.fields; // [{ path: 'from[0].namespaces', outcome: 'does_not_match', … }]
 */
export function explain(snapshot: Snapshot, call: Call): Explanation {
  const policies = [...snapshot.policies.values()].sort(comparePolicies);
  return { decision: decide(snapshot, call), policies: policies.map((policy) => explainPolicy(policy, call)) };
}

function explainPolicy({ name, source, target, rules }: CompiledPolicy, call: Call): PolicyExplanation {
  const selects = target.selects(call.destination);
  const explained = selects && call.refused === undefined ? rules.map((rule) => explainRule(rule, call)) : [];
  return { policy: name, action: source.action, mode: source.mode, selects, rules: explained };
}

function explainRule({ index, test, from, to, when, relations }: CompiledRule, call: Call): RuleExplanation {
  const fields = [...from, ...to].flatMap((clause) => fieldsOf(clause, call));
  return {
    rule: index,
    outcome: OUTCOMES[test(call)],
    fields: [
      ...fields,
      ...(when === undefined ? [] : [explainField(when, call)]),
      ...(relations === undefined ? [] : [{ path: 'relations', outcome: OUTCOMES[relations.test(call)], isUnseen: false }]),
    ],
  };
}

function fieldsOf({ path, literals, test }: Clause, call: Call): FieldExplanation[] {
  // A clause that could not be compiled has no fields.
  if (literals.length === 0) return [{ path, outcome: OUTCOMES[test(call)], isUnseen: false }];
  return literals.map((each) => explainField(each, call));
}

function explainField({ path, field, test }: Literal, call: Call): FieldExplanation {
  return { path, outcome: OUTCOMES[test(call)], isUnseen: isUnseen(call, field) };
}

const OUTCOMES: Readonly<Record<Tri, Outcome>> = { [NO]: 'does_not_match', [UNKNOWN]: 'unknown', [YES]: 'matches' };
