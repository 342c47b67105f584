import type { Fault } from '../core/decode.ts';
import { compilePolicy } from './compile/policy.ts';
import { hasExpression, NO_EXPRESSIONS, loadAllExpressions } from './expressions/load.ts';
import type { Policy } from './policy.ts';

/**
 * What of a policy's expressions does not compile: no CEL, of a wrong type, too costly; no RE2, or too large; and relations that
 * can never be asked for. The libraries are loaded
 * for a policy that has an expression only.
 *
 * @example
 * await expressionFaults(policy); // [{ path: 'spec.rules[0].when', message: 'the condition is no CEL: …' }]
 */
export async function expressionFaults(policy: Policy): Promise<readonly Fault[]> {
  return compilePolicy(policy, hasExpression(policy) ? await loadAllExpressions() : NO_EXPRESSIONS).problems;
}
