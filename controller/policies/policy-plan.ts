import { isIdentityError } from '../../core/errors.ts';
import { refText } from '../ports.ts';
import type { PolicyReconciler } from './policy-reconciler.ts';

/** What a run would do to the CA's policies; each as `AuthorizationPolicy shop/orders`. */
export interface PolicyPlan {
  readonly set: readonly string[];
  readonly delete: readonly string[];
  /** Those that would be refused, because somebody else put one of the same name there. */
  readonly foreign: readonly string[];
}

/** Compares what ought to be with what is at the CA. A server without policies, such as SPIRE's, has none. */
export async function planPolicies(
  reconciler: Pick<PolicyReconciler, 'load' | 'plan' | 'nameOf'>,
  signal: AbortSignal,
): Promise<PolicyPlan> {
  try {
    await reconciler.load(signal);
  } catch (error) {
    if (!isIdentityError(error, 'unimplemented')) throw error;
  }
  const { set, remove, inTheWay } = reconciler.plan();
  return {
    set: set.map(({ name }) => refText(name)),
    delete: remove.map((key) => refText(reconciler.nameOf(key))),
    foreign: inTheWay.map(({ name }) => refText(name)),
  };
}
