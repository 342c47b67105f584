import { compilePolicy } from '../../policy/compile/policy.ts';
import { NO_EXPRESSIONS, hasExpression, loadAllExpressions } from '../../policy/expressions/load.ts';
import type { Expressions } from '../../policy/expressions/expressions.ts';
import { neverMatches } from '../../policy/never-matches.ts';
import type { Policy } from '../../policy/policy.ts';

/** What there is to say about a policy by itself. */
export interface Assessment {
  /** What could not be compiled: `spec.rules[0].when` and why. Such a rule allows nothing, or denies. */
  readonly problems: readonly { readonly path: string; readonly message: string }[];
  /** What is as it is written, and may surprise. */
  readonly remarks: readonly string[];
}

/** Compiles policies to see what there is to say about them; nothing of it is kept but the words. */
export class PolicyAssessor {
  #expressions: Expressions | undefined;
  #loading: Promise<void> | undefined;
  readonly #known = new WeakMap<Policy, Assessment>();

  /** Settles when {@link assess} can say something about the policy: the libraries of its expressions are loaded when first needed. */
  async prepare(policy: Policy): Promise<void> {
    if (this.#expressions !== undefined || !hasExpression(policy)) return;
    this.#loading ??= loadAllExpressions().then((expressions) => void (this.#expressions = expressions));
    await this.#loading;
  }

  /** Undefined until it is prepared. */
  assess(policy: Policy): Assessment | undefined {
    if (this.#expressions === undefined && hasExpression(policy)) return undefined;
    const known = this.#known.get(policy);
    if (known !== undefined) return known;
    const { problems, notes } = compilePolicy(policy, this.#expressions ?? NO_EXPRESSIONS);
    const never = policy.rules.flatMap((rule, index) =>
      neverMatches(rule).map((message) => `rule ${index} never matches: ${message}`),
    );
    const remarks = [...never, ...notes.map(({ rule, message }) => `rule ${rule}: ${message}`)];
    const assessment = { problems, remarks };
    this.#known.set(policy, assessment);
    return assessment;
  }
}
