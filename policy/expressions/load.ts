import { IdentityError } from '../../core/errors.ts';
import type { Policy } from '../policy.ts';
import type { Expressions } from './expressions.ts';

/** Stands in where no policy has an expression: any expression is then a fault of the caller, who has to load them first. */
export const NO_EXPRESSIONS: Expressions = {
  condition: () => notLoaded(),
  regex: () => notLoaded(),
};

function notLoaded(): never {
  throw new IdentityError('failed_precondition', 'a policy has an expression, and loadExpressions was not called before');
}

/**
 * Loads the libraries for expressions (40 ms and 12 MB, once) if one of these policies has any.
 *
 * @example
 * const snapshot = compile(policies, { expressions: await loadExpressions(policies) });
 */
export async function loadExpressions(policies: Iterable<Policy>): Promise<Expressions> {
  for (const policy of policies) if (hasExpression(policy)) return loadAllExpressions();
  return NO_EXPRESSIONS;
}

/** Loads them in any case. */
export async function loadAllExpressions(): Promise<Expressions> {
  const [{ compileCondition }, { compileRegex }] = await Promise.all([import('./cel.ts'), import('./re2.ts')]);
  return { condition: compileCondition, regex: compileRegex };
}

/** Whether a policy has a condition or a regular expression. */
export function hasExpression({ rules }: Policy): boolean {
  return rules.some(({ when, to = [] }) => when !== undefined || to.some((each) => hasRegex(each) || hasRegex(each.not)));
}

interface Matched {
  readonly paths?: readonly { readonly regex?: string | undefined }[] | undefined;
  readonly headers?: readonly { readonly regex?: string | undefined }[] | undefined;
}

function hasRegex(clause: Matched | undefined): boolean {
  return [...(clause?.paths ?? []), ...(clause?.headers ?? [])].some(({ regex }) => regex !== undefined);
}
