import type { Explanation, PolicyExplanation } from '../../policy/explain.ts';
import type { Decision, PolicyName } from '../../policy/model.ts';

/** A policy as texts name it: `shop/orders`, or the name alone of one of the cluster. */
export function policyText({ namespace, name }: PolicyName): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}

/** A decision in one line, such as `deny denied_by_rule (rule 0 of shop/no-delete)`. */
export function decisionText({
  verdict,
  reason,
  policy,
  rule,
}: Pick<Decision, 'verdict' | 'reason' | 'policy' | 'rule'>): string {
  return `${verdict} ${reason}${policy === undefined ? '' : ` (rule ${rule} of ${policyText(policy)})`}`;
}

/** The whole reasoning: one line for each policy, rule and field, in the order in which policies decide. */
export function explanationText({ decision, policies }: Explanation): string {
  const dryRun = decision.dryRun === undefined ? [] : [`with all DryRun policies enforced: ${decisionText(decision.dryRun)}`];
  const audits = decision.audits.map(({ policy, rule }) => `audited by rule ${rule} of ${policyText(policy)}`);
  const concerned = policies.filter(({ selects }) => selects);
  const others = policies.length - concerned.length;
  return [
    decisionText(decision),
    ...dryRun,
    ...audits,
    ...(concerned.length === 0 ? ['no policy is about the destination'] : concerned.flatMap(policyLines)),
    ...(others === 0 ? [] : [`${others} other ${others === 1 ? 'policy is' : 'policies are'} not about the destination`]),
    '',
  ].join('\n');
}

function policyLines({ policy, action, mode, rules }: PolicyExplanation): readonly string[] {
  const lines = rules.flatMap(({ rule, outcome, fields }) => [
    `  rule ${rule} ${WORDS[outcome]}${fields.length === 0 ? ': it holds for everything' : ''}`,
    ...fields.map((field) => `    ${field.path} ${WORDS[field.outcome]}${field.isUnseen ? ' (cannot be seen here)' : ''}`),
  ]);
  const none = lines.length === 0 ? ['  no rule was looked at'] : lines;
  return [`${action} ${policyText(policy)}${mode === 'DryRun' ? ' (DryRun)' : ''}`, ...none];
}

const WORDS = { matches: 'matches', does_not_match: 'does not match', unknown: 'is unknown' } as const;
