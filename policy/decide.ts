import type { Snapshot } from './compile/snapshot.ts';
import { queriesOf } from './compile/policy.ts';
import { NO, YES } from './compile/tri.ts';
import type { View, World } from './compile/view.ts';
import { relationKey } from './compile/relations.ts';
import type { Call, Decision, DefaultAction, ReasonCode, Refusal, RelationQuery, RuleReference } from './model.ts';

/**
 * Decides one call: a DENY rule that matches denies; else, where no ALLOW policy selects the destination, the default decides; else an
 * ALLOW rule that matches allows; else it is denied. An ambiguous request is denied wherever a policy selects the destination.
 * Neither throws nor waits.
 *
 * @example
 * const { verdict, policy, rule, reason } = decide(snapshot, call);
 */
export function decide(snapshot: Snapshot, call: Call): Decision {
  const view = snapshot.viewFor(call.destination);
  const decision = decideIn(view.enforced, call, snapshot.defaultAction);
  if (view.dryRun === undefined && view.audit.rules.length === 0 && !view.hasRelations) return decision;
  return { ...decision, ...dryRunOf(view, call, snapshot.defaultAction), audits: auditsOf(view, call), ...pendingOf(view, call) };
}

function decideIn(world: World, call: Call, defaultAction: DefaultAction): Decision {
  if (call.refused !== undefined) return ofAmbiguous(world, call.refused, defaultAction);
  const denying = world.deny.first(call);
  if (denying !== undefined) return denying.decision;
  if (!world.hasAllow) return DEFAULTS[defaultAction];
  return world.allow.first(call)?.decision ?? NO_RULE;
}

function ofAmbiguous({ hasAny }: World, refused: Refusal, defaultAction: DefaultAction): Decision {
  return plain(hasAny || defaultAction === 'deny' ? 'deny' : 'allow', refused);
}

const NO_AUDITS: readonly RuleReference[] = [];

function plain(verdict: Decision['verdict'], reason: ReasonCode): Decision {
  return { verdict, reason, audits: NO_AUDITS };
}

const NO_RULE = plain('deny', 'no_rule_matches');
const DEFAULTS: Readonly<Record<DefaultAction, Decision>> = {
  allow: plain('allow', 'default_allow'),
  audit: plain('allow', 'default_audit'),
  deny: plain('deny', 'default_deny'),
};

function dryRunOf({ dryRun }: View, call: Call, defaultAction: DefaultAction): { dryRun?: Decision } {
  return dryRun === undefined ? {} : { dryRun: decideIn(dryRun, call, defaultAction) };
}

function auditsOf({ audit }: View, call: Call): readonly RuleReference[] {
  if (audit.rules.length === 0 || call.refused !== undefined) return NO_AUDITS;
  return audit.rules.filter(({ test }) => test(call) === YES).map(({ reference }) => reference);
}

/** Relations that nobody has answered yet, of rules that match otherwise. */
function pendingOf(view: View, call: Call): { pending?: readonly RelationQuery[] } {
  if (!view.hasRelations || call.refused !== undefined) return {};
  const open = new Map<string, RelationQuery>();
  for (const rule of view.policies.flatMap(({ rules }) => rules)) {
    if (rule.relations === undefined || rule.testWithoutRelations(call) === NO) continue;
    for (const query of queriesOf(rule, call)) if (!call.relations?.has(relationKey(query))) open.set(relationKey(query), query);
  }
  return open.size === 0 ? {} : { pending: [...open.values()] };
}
