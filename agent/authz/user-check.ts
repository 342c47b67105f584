import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import type { UserOutcome } from '../../policy/users/authenticate.ts';
import type { Call } from '../../policy/model.ts';
import type { KeySource } from '../../policy/users/token-issuer.ts';
import type { verifyUserToken } from '../../policy/users/user-token.ts';
import type { Logger } from '../../runtime/log.ts';
import { createCall } from './call.ts';
import type { Check, Outcome } from './check.ts';
import type { DecidedCallObserver } from './decided-call.ts';
import { Destinations, type EntitlementSource } from './destinations.ts';
import type { Enforcement } from './enforcement.ts';
import { FailureLines } from './failure-lines.ts';
import { afterRefusedUser, withoutDecision } from './outcome.ts';
import { userOf } from './user-of-call.ts';

/** What {@link UserCheck} is made from; as for the authorizer. */
export interface UserCheckOptions {
  readonly identities: EntitlementSource;
  readonly policy: Source<Enforcement | undefined>;
  readonly staleness: { readonly value: boolean };
  readonly keys: KeySource;
  readonly verify?: typeof verifyUserToken | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of each answer. */
  readonly onDecided?: DecidedCallObserver | undefined;
}

interface Answer {
  readonly outcome: Outcome;
  readonly call?: Call | undefined;
}

const MISSING = { kind: 'missing' } as const;

/**
 * Says who the user of a request is, by the RequestAuthentications of the workload that asks, and not what the user may do. Without a
 * user there is no 200: also where a token is optional, and where nobody's tokens are accepted.
 */
export class UserCheck {
  readonly #options: UserCheckOptions;
  readonly #destinations: Destinations;
  readonly #failures: FailureLines;

  constructor(options: UserCheckOptions) {
    this.#options = options;
    this.#failures = new FailureLines(options.log, options.clock);
    this.#destinations = new Destinations(options.identities);
  }

  /** Never throws: what goes wrong is a refusal with its reason, which is logged. */
  async authenticate(check: Check): Promise<Outcome> {
    const startedMs = this.#options.clock.monotonicMs();
    try {
      return this.#done(check, await this.#answer(check), startedMs);
    } catch (err) {
      this.#failures.error(err, 'a user could not be authenticated; refused');
      return this.#done(check, { outcome: withoutDecision('internal') }, startedMs);
    }
  }

  async #answer(check: Check): Promise<Answer> {
    const { policy, staleness, keys, verify, clock } = this.#options;
    const enforcement = policy.value;
    if (enforcement === undefined) return { outcome: withoutDecision('policy_missing') };
    const destination = this.#destinations.of(check.asking, check.destinationId, check.port);
    if (typeof destination === 'string') return { outcome: withoutDecision(destination) };
    if (staleness.value) return { outcome: withoutDecision('policy_stale', destination.spiffeId) };
    const call = createCall(check, { destination, enforcement, atMs: clock.nowMs() });
    const found: UserOutcome = (await userOf(call, { enforcement, keys, verify })) ?? { kind: 'missing' };
    if (found.kind !== 'user') return { outcome: afterRefusedUser(found.kind === 'anonymous' ? MISSING : found, call), call };
    const { user } = found;
    const reason = 'user_authenticated';
    const destinationId = destination.spiffeId;
    return { outcome: { verdict: 'allow', status: 200, headers: new Map(), reason, user, destinationId }, call };
  }

  #done(check: Check, { outcome, call }: Answer, startedMs: number): Outcome {
    const { clock, onDecided } = this.#options;
    const durationMs = clock.monotonicMs() - startedMs;
    try {
      onDecided?.({ check, outcome, call, isAuthentication: true, atMs: clock.nowMs(), durationMs });
    } catch (err) {
      this.#failures.error(err, 'an authenticated user could not be recorded');
    }
    return outcome;
  }
}
