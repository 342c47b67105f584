import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import type { UserOutcome } from '../../policy/users/authenticate.ts';
import type { KeySource } from '../../policy/users/token-issuer.ts';
import type { Logger } from '../../runtime/log.ts';
import { createCall } from './call.ts';
import type { Check, Outcome } from './check.ts';
import { Destinations, type EntitlementSource } from './destinations.ts';
import type { Enforcement } from './enforcement.ts';
import { afterRefusedUser, withoutDecision } from './outcome.ts';
import { userOf } from './user-of-call.ts';

/** What {@link UserCheck} is made from; as for the authorizer. */
export interface UserCheckOptions {
  readonly identities: EntitlementSource;
  readonly policy: Source<Enforcement | undefined>;
  readonly staleness: { readonly value: boolean };
  readonly keys: KeySource;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Says who the user of a request is, by the RequestAuthentications of the workload that asks, and not what the user may do. Without a
 * user there is no 200: also where a token is optional, and where nobody's tokens are accepted.
 */
export class UserCheck {
  readonly #options: UserCheckOptions;
  readonly #destinations: Destinations;

  constructor(options: UserCheckOptions) {
    this.#options = options;
    this.#destinations = new Destinations(options.identities);
  }

  /** Never throws: what goes wrong is a refusal with its reason, which is logged. */
  async authenticate(check: Check): Promise<Outcome> {
    try {
      return await this.#answer(check);
    } catch (err) {
      this.#options.log.error({ err }, 'a user could not be authenticated; refused');
      return withoutDecision('internal');
    }
  }

  async #answer(check: Check): Promise<Outcome> {
    const { policy, staleness, keys, clock } = this.#options;
    const enforcement = policy.value;
    if (enforcement === undefined) return withoutDecision('policy_missing');
    const destination = this.#destinations.of(check.asking, check.destinationId, check.port);
    if (typeof destination === 'string') return withoutDecision(destination);
    if (staleness.value) return withoutDecision('policy_stale', destination.spiffeId);
    const call = createCall(check, { destination, enforcement, atMs: clock.nowMs() });
    const found: UserOutcome = (await userOf(call, { enforcement, keys })) ?? { kind: 'missing' };
    if (found.kind !== 'user') return afterRefusedUser(found.kind === 'anonymous' ? { kind: 'missing' } : found, call);
    const { user } = found;
    const reason = 'user_authenticated';
    return { verdict: 'allow', status: 200, headers: new Map(), reason, user, destinationId: destination.spiffeId };
  }
}
