import { create } from '@bufbuild/protobuf';
import type { CompiledRule } from '../../../policy/compile/policy.ts';
import type { View, World } from '../../../policy/compile/view.ts';
import type { DefaultAction } from '../../../policy/model.ts';
import {
  type Policy,
  PolicySchema,
  type RBAC,
  RBAC_Action,
  RBACSchema,
} from '../../../proto/gen/envoy/config/rbac/v3/rbac_pb.ts';
import { anyByPath } from './by-path.ts';
import { anyCaller } from './callers.ts';
import { all, ALWAYS, any, type Condition, header, NEVER, not } from './condition.ts';
import { permissionsOf, principalsOf } from './encode.ts';
import type { ExpressionLimits } from './path-conditions.ts';
import { byPorts } from './ports.ts';
import { REFUSALS } from './refusals.ts';
import { ruleCondition } from './rule-condition.ts';
import type { RuleContext } from './rule-context.ts';
import { isOfTwoDomains, type TrustDomains } from './two-names.ts';
import { type KnownWorkloads, Workloads } from './workloads.ts';

/** What is compiled. */
export interface RbacInput {
  /** What applies to the destination. */
  readonly view: View;
  readonly defaultAction: DefaultAction;
  /** The callers that namespaces and service accounts stand for. */
  readonly known: KnownWorkloads;
  /** Whether Envoy sees requests, or connections only. */
  readonly sees: RuleContext['sees'];
  readonly limits: ExpressionLimits;
  /** Trust domains: the workload's own, and those whose bundles it is given. */
  readonly trustDomains: TrustDomains;
  /** User tokens that are accepted at the destination: Envoy's filter cannot verify them. */
  readonly tokens?: AcceptedTokens | undefined;
}

/** User tokens of a destination. */
export interface AcceptedTokens {
  readonly areRequired: boolean;
  /** Headers that they come in. */
  readonly headers: readonly string[];
}

/** What Envoy's filters are configured with: what denies, and what would deny if policies of mode DryRun were enforced. */
export interface RbacRules {
  readonly rules: RBAC;
  /** Absent where no policy of mode DryRun concerns the destination. */
  readonly shadow: RBAC | undefined;
}

/**
 * Compiles what applies to a destination to Envoy's words: one list of what is denied, DENY rules and whatever no ALLOW rule
 * matches, so that a change is put in force as one. It denies whatever the engine denies to a point that cannot see users, conditions
 * in CEL and relations. Each denial is named: `<kind>/<namespace>/<name>#<rule>`, or a reason code.
 */
export function compileRbac(input: RbacInput): RbacRules {
  const { enforced, dryRun } = input.view;
  return { rules: rulesOf(enforced, input), shadow: dryRun && rulesOf(dryRun, input) };
}

/** Rules that deny everything, or nothing. */
export function rulesFor(verdict: 'allow' | 'deny', reason: string): RbacRules {
  const rules = new Denials();
  if (verdict === 'deny') rules.add(reason, ALWAYS, ALWAYS);
  return { rules: rules.rbac, shadow: undefined };
}

function rulesOf(world: World, input: RbacInput): RBAC {
  const { sees, defaultAction, tokens, trustDomains } = input;
  const denials = new Denials();
  if (sees === 'requests' && (world.hasAny || defaultAction === 'deny')) {
    for (const [reason, condition] of REFUSALS) denials.add(reason, ALWAYS, condition);
  }
  if (world.hasAny) denials.add('ambiguous_identity', isOfTwoDomains(trustDomains, world), ALWAYS);
  if (tokens !== undefined) denials.add('user_unseen', ALWAYS, tokenCondition(tokens, sees));
  for (const rule of world.deny.rules) {
    const { who, what } = conditionOf(rule, true, input);
    denials.add(nameOf(rule), who, what);
  }
  if (world.hasAllow) denials.addRest('no_rule_matches', not(allowed(world.allow.rules, input)));
  else if (defaultAction === 'deny') denials.add('default_deny', ALWAYS, ALWAYS);
  return denials.rbac;
}

/** A token that nobody verifies here must not pass for none. */
function tokenCondition({ areRequired, headers }: AcceptedTokens, sees: RuleContext['sees']): Condition {
  if (areRequired) return ALWAYS;
  return sees === 'requests' ? any(...headers.map((name) => header(name.toLowerCase()))) : any();
}

/** Rules over the same operations are one, so that what is asked for is looked at once, and who calls after that. */
function allowed(rules: readonly CompiledRule[], input: RbacInput): Condition {
  const conditions = rules.map((rule) => conditionOf(rule, false, input));
  const alike = [...Map.groupBy(conditions, ({ what }) => JSON.stringify(what)).values()];
  return anyByPath(
    alike.map((group) => {
      const who = anyCaller(
        group.map((each) => each.who),
        input.limits,
      );
      // Who calls costs Envoy more to tell than what is asked for.
      return all(group[0]?.what ?? NEVER, who);
    }),
  );
}

function conditionOf(rule: CompiledRule, bias: boolean, { sees, known, limits }: RbacInput) {
  return ruleCondition(rule, { bias, sees, limits, workloads: new Workloads(known, limits) }, rule.policy.name.namespace);
}

function nameOf({ policy, index }: CompiledRule): string {
  return `${policy.key}#${index}`;
}

/** What is denied, by name. */
class Denials {
  readonly #policies: Record<string, Policy> = {};

  /** Denies what both conditions hold for, the first of which is not about ports, the second not about callers. */
  add(name: string, who: Condition, what: Condition): void {
    if (isNever(who) || isNever(what)) return;
    this.#policies[name] = create(PolicySchema, { permissions: permissionsOf(what), principals: principalsOf(who) });
  }

  /** Denies what a condition over anything holds for; in parts, each under a name of its own, where it is about ports. */
  addRest(name: string, condition: Condition): void {
    for (const [index, { ports, rest }] of byPorts(condition).entries()) {
      this.add(index === 0 ? name : `${name}~${index}`, rest, ports);
    }
  }

  get rbac(): RBAC {
    return create(RBACSchema, { action: RBAC_Action.DENY, policies: this.#policies });
  }
}

const isNever = (condition: Condition): boolean => condition.kind === 'constant' && !condition.holds;
