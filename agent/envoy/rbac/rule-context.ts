import type { Workloads } from './workloads.ts';
import type { ExpressionLimits } from './path-conditions.ts';

/** What translating a rule needs to know besides the rule. */
export interface RuleContext {
  /** What counts where something cannot be told: false for ALLOW rules, true for DENY rules. */
  readonly bias: boolean;
  /** Whether requests are seen, or connections only. */
  readonly sees: 'requests' | 'connections';
  /** Of the policy: it completes service accounts without one. */
  readonly namespace: string;
  readonly workloads: Workloads;
  readonly limits: ExpressionLimits;
}
