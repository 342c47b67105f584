import type { PolicyName } from '../../policy/model.ts';
import { policyKey } from '../../policy/policy.ts';
import type { Histogram, Registry } from '../../runtime/metrics.ts';
import type { DecidedCall } from './decided-call.ts';
import type { Occasion } from './decision-log.ts';
import { wouldDeny } from './decision-record.ts';

/** Policies and reasons that have figures of their own; later ones share those of `other`. */
const MOST_POLICIES = 200;
const MOST_REASONS = 64;
const USER_OUTCOMES: ReadonlyMap<string, string> = new Map([
  ['user_missing', 'missing'],
  ['user_refused', 'refused'],
  ['user_unavailable', 'unavailable'],
]);

/** Values of a label, of which there are only so many. */
class BoundedLabel {
  readonly #most: number;
  readonly #known = new Set<string>();

  constructor(most: number) {
    this.#most = most;
  }

  of(value: string): string {
    if (this.#known.has(value)) return value;
    if (this.#known.size >= this.#most) return 'other';
    this.#known.add(value);
    return value;
  }
}

type Labels = Readonly<Record<string, string>>;

/** Counts under labels, cheaply: metrics are made of it when they are scraped. */
class Counts {
  readonly #counts = new Map<string, { readonly labels: Labels; count: number }>();

  add(key: string, labels: () => Labels): void {
    const known = this.#counts.get(key);
    if (known !== undefined) known.count += 1;
    else this.#counts.set(key, { labels: labels(), count: 1 });
  }

  values(): Iterable<{ readonly labels: Labels; readonly count: number }> {
    return this.#counts.values();
  }
}

/** Counts and times decided calls. The library is loaded, and calls are counted, once {@link DecisionMetrics.register} was called. */
export class DecisionMetrics {
  readonly #policies = new BoundedLabel(MOST_POLICIES);
  readonly #reasons = new BoundedLabel(MOST_REASONS);
  readonly #decisions = new Counts();
  readonly #wouldDeny = new Counts();
  readonly #users = new Counts();
  readonly #leftOut = new Counts();
  #seconds: Histogram<'point'> | undefined;

  /** Counts a call. */
  readonly observe = ({ check: { point }, outcome, durationMs }: DecidedCall): void => {
    if (this.#seconds === undefined) return;
    const { verdict, decision } = outcome;
    const policy = this.#policyOf(decision?.policy);
    const reason = this.#reasons.of(outcome.reason);
    this.#decisions.add(`${point} ${policy} ${verdict} ${reason}`, () => ({ point, policy, verdict, reason }));
    // What an access log tells of took the agent no time.
    if (point !== 'access_log') this.#seconds.observe({ point }, durationMs / 1000);
    this.#countUser(outcome);
    if (decision === undefined || !wouldDeny(decision)) return;
    const denying = this.#policyOf(decision.dryRun?.policy);
    this.#wouldDeny.add(`${point} ${denying}`, () => ({ point, policy: denying }));
  };

  /** Counts a record that the decision log left out. */
  readonly onLeftOut = (occasion: Occasion): void => this.#leftOut.add(occasion, () => ({ occasion }));

  /** Adds the metrics, and counts from now on. */
  async register(registry: Registry): Promise<void> {
    const { Counter, Histogram } = await import('../../runtime/metrics.ts');
    const counter = (name: string, help: string, labelNames: readonly string[], counts: Counts): void => {
      registry.registerMetric(
        new Counter({
          name,
          help,
          labelNames: [...labelNames],
          registers: [],
          collect() {
            this.reset();
            for (const { labels, count } of counts.values()) this.inc(labels, count);
          },
        }),
      );
    };
    const labels = ['point', 'policy', 'verdict', 'reason'];
    counter('countersign_agent_decisions_total', 'Calls decided, by the policy that decided', labels, this.#decisions);
    counter(
      'countersign_agent_would_deny_total',
      'Calls allowed that policies of mode DryRun would deny',
      ['point', 'policy'],
      this.#wouldDeny,
    );
    counter('countersign_agent_user_tokens_total', 'What became of user tokens', ['outcome'], this.#users);
    counter('countersign_agent_decision_log_left_out_total', 'Records over the log limit', ['occasion'], this.#leftOut);
    this.#seconds = new Histogram({
      name: 'countersign_agent_decision_seconds',
      help: 'Time from being asked about a call to the answer, in seconds',
      labelNames: ['point'],
      buckets: [0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10],
      registers: [registry],
    });
  }

  #policyOf(name: PolicyName | undefined): string {
    return name === undefined ? 'none' : this.#policies.of(policyKey(name));
  }

  #countUser({ user, reason }: DecidedCall['outcome']): void {
    const outcome = user === undefined ? USER_OUTCOMES.get(reason) : 'accepted';
    if (outcome !== undefined) this.#users.add(outcome, () => ({ outcome }));
  }
}
