import { comparePolicies } from './compile/snapshot.ts';
import { ruleCovers, targetCovers } from './covers.ts';
import type { Policy } from './policy.ts';

/** What becomes of a rule because of another one: it never decides, or the other says the opposite of the very same calls. */
export type Overlap = 'shadowed' | 'conflicts';

/** A rule by its place in a policy. */
export interface RulePlace {
  readonly policy: Policy;
  readonly index: number;
}

/** Whether rules of a policy can overlap with others: it is enforced, and decides. */
export function decides({ mode, action }: Policy): boolean {
  return mode === 'Enforce' && action !== 'AUDIT';
}

/** How the targets of two policies stand to each other, for who has found it out already. */
export interface Targets {
  /** Each destination of the narrow one is one of the wide one. */
  readonly covers: boolean;
  /** And the other way round. */
  readonly isMutual: boolean;
}

/** What it means for a rule that another one is there, if anything. Judged by how they are written, as {@link ruleCovers}. */
export function overlap(narrow: RulePlace, wide: RulePlace, targets?: Targets): Overlap | undefined {
  const [rule, other] = [narrow.policy.rules[narrow.index], wide.policy.rules[wide.index]];
  if (rule === undefined || other === undefined || rule === other) return undefined;
  const [action, otherAction] = [narrow.policy.action, wide.policy.action];
  const isRefuted = action === 'ALLOW' && otherAction === 'DENY';
  if (!isRefuted && action !== otherAction) return undefined;
  if (!(targets?.covers ?? targetCovers(wide.policy, narrow.policy)) || !ruleCovers(other, rule)) return undefined;
  const isMutual = (targets?.isMutual ?? targetCovers(narrow.policy, wide.policy)) && ruleCovers(rule, other);
  if (isRefuted) return isMutual ? 'conflicts' : 'shadowed';
  return !isMutual || isBefore(wide, narrow) ? 'shadowed' : undefined;
}

function isBefore(one: RulePlace, other: RulePlace): boolean {
  return one.policy === other.policy ? one.index < other.index : comparePolicies(one.policy, other.policy) < 0;
}

/** The destinations of a policy as one text: equal texts are equal targets, within one namespace. */
export function targetText(policy: Policy): string {
  return textOf(partsOf(policy));
}

/**
 * The {@link targetText}s of all targets that cover this one as far as they are written alike: those with some of its conditions. At
 * most 16.
 */
export function coveringTargets(policy: Policy): readonly string[] {
  const parts = partsOf(policy);
  return Array.from({ length: 1 << parts.length }, (_, mask) =>
    textOf(parts.filter((_part, index) => (mask & (1 << index)) !== 0)),
  );
}

function partsOf({ selector, attested, targetRefs, namespaceSelector, spiffeIDs }: Policy): readonly string[] {
  const parts = Object.entries({ selector, attested, targetRefs, namespaceSelector, spiffeIDs });
  return parts.filter(([, value]) => value !== undefined).map((part) => JSON.stringify(part));
}

function textOf(parts: readonly string[]): string {
  return parts.join('\n');
}
