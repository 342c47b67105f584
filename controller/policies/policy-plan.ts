import { isIdentityError } from '../../core/errors.ts';
import { refText } from '../ports.ts';
import type { PolicyReconciler } from './policy-reconciler.ts';

/** What a run would do to the CA's policies; each as `AuthorizationPolicy shop/orders`. */
export interface PolicyPlan {
  readonly set: readonly string[];
  readonly delete: readonly string[];
  /** Those that would be refused, because somebody else put one of the same name there. */
  readonly foreign: readonly string[];
  /** Those that would not be put in force because of what they do to recorded calls, each with why. */
  readonly refused: readonly string[];
}

/** Compares what ought to be with what is at the CA. A server without policies, such as SPIRE's, has none. */
export async function planPolicies(
  reconciler: Pick<PolicyReconciler, 'load' | 'plan' | 'nameOf' | 'refusalsOf'>,
  signal: AbortSignal,
): Promise<PolicyPlan> {
  try {
    await reconciler.load(signal);
  } catch (error) {
    if (!isIdentityError(error, 'unimplemented')) throw error;
  }
  const { set, remove, inTheWay } = reconciler.plan();
  const refusals = await reconciler.refusalsOf(set, signal);
  return {
    refused: set.flatMap(({ key, name }) => {
      const error = refusals.get(key);
      return error === undefined ? [] : [`${refText(name)}: ${error.message}`];
    }),
    set: set.filter(({ key }) => !refusals.has(key)).map(({ name }) => refText(name)),
    delete: remove.map((key) => refText(reconciler.nameOf(key))),
    foreign: inTheWay.map(({ name }) => refText(name)),
  };
}
