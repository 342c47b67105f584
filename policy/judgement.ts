// What is known of the outcome of a recorded call. What the recording lacks makes conditions of which any may hold or not; the same condition of the
// same call holds before and after a change, or neither.
import type { CompiledPolicy, CompiledRule } from './compile/policy.ts';
import type { RuleIndex } from './compile/rule-index.ts';
import type { Snapshot } from './compile/snapshot.ts';
import { NO, UNKNOWN, YES } from './compile/tri.ts';
import { viewOf } from './compile/view.ts';
import type { View, World } from './compile/view.ts';
import type { Call, Destination, PolicyName, ReasonCode, RuleReference } from './model.ts';
import { matchesNoRequest } from './never-matches.ts';

/** A verdict, or that it depends on what was not recorded. */
export type Verdict = 'allow' | 'deny' | 'unknown';

/** A verdict with what it rests on. */
export interface Simulated {
  readonly verdict: Verdict;
  /** `token_required`: it hangs on the user's token. */
  readonly reason: ReasonCode | 'not_recorded' | 'token_required';
  /** The rule that decides, or the first that cannot be judged. */
  readonly policy?: PolicyName;
  readonly rule?: number;
}

/** What a judgement is about. */
export interface JudgedCall {
  readonly call: Call;
  /** The recording does not say which selectors the destination has: policies that ask for some may be about it, or not. */
  readonly lacksSelectors?: boolean;
}

/** What is known of one call under one snapshot. Conditions are texts: equal for what holds together. */
export interface Judgement {
  readonly simulated: Simulated;
  readonly denies: boolean;
  readonly mayDeny: readonly string[];
  readonly allows: boolean;
  /** The rule that allows, where that is certain and nothing denies. */
  readonly allowedBy: RuleReference | undefined;
  readonly mayAllow: readonly string[];
  /** Whether an ALLOW policy is about the destination. */
  readonly hasAllow: boolean;
  readonly mayHaveAllow: readonly string[];
  readonly isAllowedByDefault: boolean;
}

/** Judges a recorded call; `countsDryRun`: as if policies of mode DryRun were enforced. */
export function judge(snapshot: Snapshot, { call, lacksSelectors = false }: JudgedCall, countsDryRun = false): Judgement {
  const { view, uncertain } = lacksSelectors ? partialView(snapshot, call.destination) : whole(snapshot, call.destination);
  const world = (countsDryRun ? view.dryRun : undefined) ?? view.enforced;
  const possible = uncertain.filter(({ source }) => source.mode === 'Enforce' || countsDryRun);
  const facts = call.refused === undefined ? factsOf(world, possible, call) : factsOfAmbiguous(world, possible);
  const isAllowedByDefault = snapshot.defaultAction !== 'deny';
  const simulated = simulatedOf({ ...facts, isAllowedByDefault }, snapshot, call);
  const allowedBy = facts.allows ? facts.allowing?.reference : undefined;
  return { ...facts, isAllowedByDefault, allowedBy, simulated };
}

/** The policies about a destination, and those that may be. */
export function policiesAbout(snapshot: Snapshot, destination: Destination, lacksSelectors = false): readonly CompiledPolicy[] {
  const { view, uncertain } = lacksSelectors ? partialView(snapshot, destination) : whole(snapshot, destination);
  return uncertain.length === 0 ? view.policies : [...view.policies, ...uncertain];
}

/**
 * Whether a call that one judgement may allow may be denied by the other: under any answer to what was not recorded that is the same for both.
 */
export function mayTurnToDenial(from: Judgement, to: Judgement): boolean {
  if (!canAllow(from)) return false;
  if (to.denies || hasMore(to.mayDeny, from.mayDeny)) return true;
  const allowsByDefault = !from.hasAllow && from.isAllowedByDefault;
  const losesRule = from.allows || hasMore(from.mayAllow, to.mayAllow);
  const joinsAllow = to.hasAllow || hasMore(to.mayHaveAllow, from.mayHaveAllow);
  if ((to.hasAllow || to.mayHaveAllow.length > 0) && !to.allows && (losesRule || (allowsByDefault && joinsAllow))) return true;
  return !to.hasAllow && !to.isAllowedByDefault && (losesRule || allowsByDefault);
}

function canAllow({ denies, allows, mayAllow, hasAllow, isAllowedByDefault }: Facts): boolean {
  return !denies && (allows || mayAllow.length > 0 || (!hasAllow && isAllowedByDefault));
}

function canDeny({ denies, mayDeny, allows, hasAllow, mayHaveAllow, isAllowedByDefault }: Facts): boolean {
  if (denies || mayDeny.length > 0) return true;
  return !allows && (hasAllow || mayHaveAllow.length > 0 || !isAllowedByDefault);
}

function hasMore(conditions: readonly string[], others: readonly string[]): boolean {
  return conditions.some((each) => !others.includes(each));
}

interface Whole {
  readonly view: View;
  readonly uncertain: readonly CompiledPolicy[];
}

const NONE: readonly CompiledPolicy[] = [];

function whole(snapshot: Snapshot, destination: Destination): Whole {
  return { view: snapshot.viewFor(destination), uncertain: NONE };
}

const partial = new WeakMap<Snapshot, WeakMap<Destination, Whole>>();

function partialView(snapshot: Snapshot, destination: Destination): Whole {
  const known = partial.get(snapshot) ?? new WeakMap<Destination, Whole>();
  partial.set(snapshot, known);
  const made = known.get(destination) ?? makePartialView(snapshot, destination);
  known.set(destination, made);
  return made;
}

function makePartialView(snapshot: Snapshot, destination: Destination): Whole {
  const certain = snapshot.viewFor(destination).policies.filter(({ target }) => !target.isOfPods);
  const uncertain = [...snapshot.policies.values()].filter(({ target }) => target.isOfPods && target.maySelect(destination));
  return { view: viewOf(certain), uncertain };
}

interface Known {
  readonly denies: boolean;
  readonly mayDeny: readonly string[];
  readonly allows: boolean;
  readonly mayAllow: readonly string[];
  readonly hasAllow: boolean;
  readonly mayHaveAllow: readonly string[];
  /** Rules that decide, or the first that cannot be judged. */
  readonly denying?: CompiledRule | undefined;
  readonly allowing?: CompiledRule | undefined;
}

type Facts = Known & { readonly isAllowedByDefault: boolean };

const NO_CONDITIONS: readonly string[] = [];
const NO_RULES: readonly CompiledRule[] = [];

/** An ambiguous request is denied wherever a policy that decides is about the destination. */
function factsOfAmbiguous({ hasAny }: World, possible: readonly CompiledPolicy[]): Known {
  const mayDeny = possible.filter(({ source }) => source.action !== 'AUDIT').map(targetText);
  return { denies: hasAny, mayDeny, allows: false, mayAllow: NO_CONDITIONS, hasAllow: false, mayHaveAllow: NO_CONDITIONS };
}

function factsOf(world: World, possible: readonly CompiledPolicy[], call: Call): Known {
  const denying = matchesIn(world.deny, call);
  const allowing = world.hasAllow ? matchesIn(world.allow, call) : NOTHING;
  const more = (action: 'ALLOW' | 'DENY'): readonly CompiledRule[] =>
    possible.length === 0
      ? NO_RULES
      : possible
          .filter(({ source }) => source.action === action)
          .flatMap(({ rules }) => rules.filter((rule) => outcomeOf(rule, call) !== NO));
  const [mayDeny, mayAllow] = [more('DENY'), more('ALLOW')];
  return {
    denies: denying.rule !== undefined,
    mayDeny: [...denying.unknown.map(conditionText), ...mayDeny.map(possibleText)],
    allows: allowing.rule !== undefined,
    mayAllow: [...allowing.unknown.map(conditionText), ...mayAllow.map(possibleText)],
    hasAllow: world.hasAllow,
    // One that comes with a rule that matches denies nothing.
    mayHaveAllow: possible
      .filter(({ source, rules }) => source.action === 'ALLOW' && !rules.some((rule) => outcomeOf(rule, call) === YES))
      .map(targetText),
    denying: denying.rule ?? denying.unknown[0] ?? mayDeny[0],
    allowing: allowing.rule ?? allowing.unknown[0] ?? mayAllow[0],
  };
}

interface Matches {
  /** The first rule that matches. */
  readonly rule: CompiledRule | undefined;
  /** Rules before it of which it is not known. */
  readonly unknown: readonly CompiledRule[];
}

const NOTHING: Matches = { rule: undefined, unknown: NO_RULES };

function matchesIn(index: RuleIndex, call: Call): Matches {
  let unknown: CompiledRule[] | undefined;
  for (const rule of index.candidates(call)) {
    const outcome = outcomeOf(rule, call);
    if (outcome === YES) return { rule, unknown: NO_RULES };
    if (outcome === UNKNOWN) (unknown ??= []).push(rule);
  }
  return unknown === undefined ? NOTHING : { rule: undefined, unknown };
}

function outcomeOf(rule: CompiledRule, call: Call): ReturnType<CompiledRule['test']> {
  const outcome = rule.test(call);
  return outcome === UNKNOWN && call.request !== undefined && isForNoRequest(rule) ? NO : outcome;
}

const forNoRequest = new WeakMap<CompiledRule, boolean>();

function isForNoRequest(rule: CompiledRule): boolean {
  const known = forNoRequest.get(rule) ?? matchesNoRequest(rule.spec);
  forNoRequest.set(rule, known);
  return known;
}

const conditions = new WeakMap<CompiledRule, string>();

/** All that the outcome of a rule hangs on beside the call. */
function conditionText(rule: CompiledRule): string {
  const known = conditions.get(rule);
  if (known !== undefined) return known;
  const { source, name } = rule.policy;
  const made = JSON.stringify([source.action, name.namespace, rule.spec]);
  conditions.set(rule, made);
  return made;
}

/** How a {@link Judgement} names a rule that may match. */
export function conditionsOf(rule: CompiledRule): readonly string[] {
  return [conditionText(rule), possibleText(rule)];
}

function possibleText(rule: CompiledRule): string {
  return `${targetText(rule.policy)} ${conditionText(rule)}`;
}

/** All that it hangs on which destinations a policy is about. */
function targetText({ name, source }: CompiledPolicy): string {
  const { action, selector, attested, targetRefs, namespaceSelector, spiffeIDs, namespaces } = source;
  return JSON.stringify({
    kind: name.kind,
    namespace: name.namespace,
    isAllow: action === 'ALLOW',
    selector,
    attested,
    targetRefs,
    namespaceSelector,
    spiffeIDs,
    namespaces,
  });
}

function simulatedOf(facts: Facts, { defaultAction }: Snapshot, { refused }: Call): Simulated {
  const { denies, mayDeny, allows, hasAllow, denying, allowing } = facts;
  if (canAllow(facts) && canDeny(facts)) return by('unknown', 'not_recorded', mayDeny.length > 0 ? denying : allowing);
  const verdict = canAllow(facts) ? 'allow' : 'deny';
  if (refused !== undefined) return { verdict, reason: refused };
  if (denies) return by(verdict, 'denied_by_rule', denying);
  if (allows) return by(verdict, 'allowed_by_rule', allowing);
  return { verdict, reason: hasAllow ? 'no_rule_matches' : `default_${defaultAction}` };
}

function by(verdict: Verdict, reason: Simulated['reason'], rule: CompiledRule | undefined): Simulated {
  return { verdict, reason, ...(rule === undefined ? {} : { policy: rule.policy.name, rule: rule.index }) };
}
