import type { CompiledPolicy, CompiledRule } from './compile/policy.ts';
import type { Snapshot } from './compile/snapshot.ts';
import { comparePolicies } from './compile/snapshot.ts';
import { targetCovers } from './covers.ts';
import { conditionsOf, judge } from './judgement.ts';
import type { Call, RuleReference } from './model.ts';
import { overlap } from './overlap.ts';
import type { Overlap, RulePlace } from './overlap.ts';
import { policyKey } from './policy.ts';
import { neverMatches } from './never-matches.ts';
import type { RecordedCall } from './simulate.ts';

/** Something about a rule that its author may not have meant. */
export interface Finding extends RuleReference {
  readonly code: 'shadowed' | 'conflicts' | 'never_matches' | 'unused' | 'wider_than_used';
  readonly message: string;
  /** The rule that it is shadowed by or conflicts with. */
  readonly other?: RuleReference;
}

/** What to compare with. */
export interface LintOptions {
  /** Without them, nothing is said about what is used. */
  readonly calls?: Iterable<RecordedCall>;
}

/**
 * Finds rules that never decide (`shadowed`), that say the opposite of another one (`conflicts`), that match no call (`never_matches`), and,
 * given recorded calls, that none or few of them needed. Judged by how rules are written: what it says is so, and it does not find all.
 *
 * @example
 * lint(snapshot, { calls }).map(({ code, policy, rule }) => `${policy.name}[${rule}]: ${code}`);
 */
export function lint(snapshot: Snapshot, { calls }: LintOptions = {}): readonly Finding[] {
  const policies = [...snapshot.policies.values()].sort(comparePolicies);
  return [
    ...policies.flatMap(({ rules }) => rules.flatMap(whyNever)),
    ...overlaps(policies),
    ...(calls === undefined ? [] : usage(snapshot, policies, calls)),
  ];
}

function whyNever(rule: CompiledRule): Finding[] {
  const reasons = neverMatches(rule.spec);
  return reasons.map((message) => ({ ...rule.reference, code: 'never_matches', message }));
}

const MOST_COMPARED = 500;

function overlaps(policies: readonly CompiledPolicy[]): Finding[] {
  const enforced = policies.filter(({ source }) => source.mode === 'Enforce' && source.action !== 'AUDIT');
  // Policies of other namespaces never meet, except those of the cluster with everybody's.
  const groups = Map.groupBy(enforced, ({ name }) => name.namespace);
  const ofCluster = groups.get('') ?? [];
  return enforced.flatMap((narrow) => {
    const others = narrow.name.namespace === '' ? ofCluster : [...ofCluster, ...(groups.get(narrow.name.namespace) ?? [])];
    return narrow.rules.flatMap((rule) => overlapOf(rule, others.slice(0, MOST_COMPARED)));
  });
}

function overlapOf(narrow: CompiledRule, policies: readonly CompiledPolicy[]): Finding[] {
  const others = policies.filter((policy) => targetCovers(policy.source, narrow.policy.source)).flatMap(({ rules }) => rules);
  for (const wide of others) {
    const kind = overlap(placeOf(narrow), placeOf(wide));
    if (kind === undefined) continue;
    return [{ ...narrow.reference, other: wide.reference, code: kind, message: messageOf(kind, narrow, wide) }];
  }
  return [];
}

function placeOf({ policy, index }: CompiledRule): RulePlace {
  return { policy: policy.source, index };
}

function messageOf(kind: Overlap, narrow: CompiledRule, wide: CompiledRule): string {
  const place = `rule ${wide.index} of ${policyKey(wide.policy.name)}`;
  if (kind === 'conflicts') return `${place} denies the very same calls`;
  const { action } = narrow.policy.source;
  if (action !== wide.policy.source.action) return `${place} denies all that it allows`;
  return `${place} ${action === 'ALLOW' ? 'allows' : 'denies'} the same calls and more`;
}

function usage(snapshot: Snapshot, policies: readonly CompiledPolicy[], calls: Iterable<RecordedCall>): Finding[] {
  const used = new UsedRules();
  for (const recorded of calls) {
    const deciding = (recorded.decidedBy ?? []).filter(({ policy }) => snapshot.policies.has(policyKey(policy)));
    for (const each of deciding) used.note(each, recorded.call);
    const { simulated, mayAllow, allowedBy } = judge(snapshot, recorded);
    if (simulated.verdict !== 'deny' && allowedBy !== undefined) used.note(allowedBy, recorded.call);
    // Which of them decided is recorded, or not known.
    if (simulated.verdict === 'unknown' && deciding.length === 0) used.doubt(mayAllow);
  }
  const allowing = policies
    .filter(({ source }) => source.action === 'ALLOW' && source.mode === 'Enforce')
    .flatMap(({ rules }) => rules);
  return allowing.flatMap((rule) => (used.isDoubtful(rule) ? [] : usageOf(rule, used.callersOf(rule))));
}

/** Rules that allowed recorded calls, and those that may have. */
class UsedRules {
  readonly #callers = new Map<string, Set<string>>();
  readonly #doubtful = new Set<string>();

  note({ policy, rule }: RuleReference, { source }: Call): void {
    const key = `${policyKey(policy)}#${rule}`;
    const known = this.#callers.get(key) ?? new Set();
    this.#callers.set(key, known.add(source.spiffeId?.toString() ?? 'nobody known'));
  }

  doubt(rules: readonly string[]): void {
    for (const each of rules) this.#doubtful.add(each);
  }

  callersOf({ reference: { policy, rule } }: CompiledRule): ReadonlySet<string> | undefined {
    return this.#callers.get(`${policyKey(policy)}#${rule}`);
  }

  /** Whether a recorded call may have needed it, beside those that are known. */
  isDoubtful(rule: CompiledRule): boolean {
    return conditionsOf(rule).some((each) => this.#doubtful.has(each));
  }
}

function usageOf(rule: CompiledRule, callers: ReadonlySet<string> | undefined): Finding[] {
  if (callers === undefined) return [{ ...rule.reference, code: 'unused', message: 'no recorded call needed it' }];
  const { from } = rule.spec;
  const isExact = from?.every(({ spiffeIDs }) => spiffeIDs?.every((id) => !id.includes('*')) ?? false) ?? false;
  if (isExact) return [];
  const message = `lets in more than the ${callers.size} callers that were recorded: ${[...callers].sort().slice(0, 5).join(', ')}`;
  return [{ ...rule.reference, code: 'wider_than_used', message }];
}
