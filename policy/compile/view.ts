import type { CompiledPolicy } from './policy.ts';
import { RuleIndex } from './rule-index.ts';

/** Policies that are in force together for a destination. */
export interface World {
  readonly deny: RuleIndex;
  readonly allow: RuleIndex;
  /** Whether any ALLOW policy selects the destination, with rules or without. */
  readonly hasAllow: boolean;
  /** Whether any policy that decides selects the destination. */
  readonly hasAny: boolean;
}

/** What applies to one destination. */
export interface View {
  readonly policies: readonly CompiledPolicy[];
  readonly enforced: World;
  /** All policies, those of mode DryRun too; absent where there are none of these. */
  readonly dryRun: World | undefined;
  readonly audit: RuleIndex;
  readonly hasRelations: boolean;
}

/** What these policies, in their order, come to. */
export function viewOf(policies: readonly CompiledPolicy[]): View {
  const enforced = policies.filter(({ source }) => source.mode === 'Enforce');
  const deciding = policies.filter(({ source }) => source.action !== 'AUDIT');
  return {
    policies,
    enforced: worldOf(enforced),
    dryRun: deciding.some(({ source }) => source.mode === 'DryRun') ? worldOf(policies) : undefined,
    audit: rulesOf(enforced, 'AUDIT'),
    hasRelations: policies.some(({ rules }) => rules.some(({ relations }) => relations !== undefined)),
  };
}

function worldOf(policies: readonly CompiledPolicy[]): World {
  const hasAllow = policies.some(({ source }) => source.action === 'ALLOW');
  const hasDeny = policies.some(({ source }) => source.action === 'DENY');
  return { deny: rulesOf(policies, 'DENY'), allow: rulesOf(policies, 'ALLOW'), hasAllow, hasAny: hasAllow || hasDeny };
}

function rulesOf(policies: readonly CompiledPolicy[], action: 'ALLOW' | 'DENY' | 'AUDIT'): RuleIndex {
  return new RuleIndex(policies.filter(({ source }) => source.action === action).flatMap(({ rules }) => rules));
}
