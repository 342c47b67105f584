import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import { decide } from '../../policy/decide.ts';
import type { Call, Decision, User } from '../../policy/model.ts';
import { decideAsync, type RelationSource } from '../../policy/relations/source.ts';
import type { UserOutcome } from '../../policy/users/authenticate.ts';
import type { KeySource } from '../../policy/users/token-issuer.ts';
import type { verifyUserToken } from '../../policy/users/user-token.ts';
import type { Logger } from '../../runtime/log.ts';
import { createCall } from './call.ts';
import type { Authorizer, Check, Outcome } from './check.ts';
import type { DecidedCallObserver } from './decided-call.ts';
import { Destinations, type EntitlementSource, type KnownDestination } from './destinations.ts';
import type { Enforcement } from './enforcement.ts';
import { isHeld } from './held-namespaces.ts';
import { afterDecision, afterRefusedUser, withoutDecision } from './outcome.ts';
import { FailureLines } from './failure-lines.ts';
import { failsOpen } from './fails-open.ts';
import { userOf } from './user-of-call.ts';

/** What {@link createAuthorizer} is made from. */
export interface AuthorizerOptions {
  readonly identities: EntitlementSource;
  /** The policy in force; undefined until there is one. */
  readonly policy: Source<Enforcement | undefined>;
  /** Whether it is too old. */
  readonly staleness: { readonly value: boolean };
  /** Keys of the issuers of user tokens. */
  readonly keys: KeySource;
  /** What verifies tokens with these; `verifyUserToken` unless given. */
  readonly verify?: typeof verifyUserToken | undefined;
  /** Where relations are asked for; without it an ALLOW rule with relations never matches, and a DENY rule does. */
  readonly relations?: RelationSource | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of each call once it is answered. */
  readonly onDecided?: DecidedCallObserver | undefined;
}

/** The answer to a check, and what was decided about. */
interface Answer {
  readonly outcome: Outcome;
  readonly call?: Call | undefined;
  /** The policy that it was decided by. */
  readonly enforcement?: Enforcement | undefined;
}

// An answer that was waited for is made again when policy has changed meanwhile, at most this often.
const MAX_ROUNDS = 3;

/**
 * Decides calls for enforcement points: by the policy in force, for the workload that asks. In this order: is there policy for
 * it, who is the destination, is policy recent enough, who is the user, what do the policies say. Whatever goes wrong denies.
 *
 * @example
 * const authorizer = createAuthorizer({ identities: cache, policy, staleness, keys, clock, log });
 * const { verdict, status, headers } = await authorizer.authorize({ point: 'http', asking, sourceId, request });
 */
export function createAuthorizer(options: AuthorizerOptions): Authorizer {
  return new PolicyAuthorizer(options);
}

class PolicyAuthorizer implements Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #destinations: Destinations;
  readonly #failures: FailureLines;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
    this.#failures = new FailureLines(options.log, options.clock);
    this.#destinations = new Destinations(options.identities);
  }

  authorize(check: Check): Outcome | Promise<Outcome> {
    const startedMs = this.#options.clock.monotonicMs();
    try {
      const answer = this.#answer(check);
      if (!(answer instanceof Promise)) return this.#done(check, answer, startedMs);
      return this.#settled(check, answer).then(
        (settled) => this.#done(check, settled, startedMs),
        (error: unknown) => this.#done(check, this.#failed(error), startedMs),
      );
    } catch (error) {
      return this.#done(check, this.#failed(error), startedMs);
    }
  }

  /** What is acknowledged is enforced: an answer by a policy that is in force no longer is made again. */
  async #settled(check: Check, first: Promise<Answer>): Promise<Answer> {
    let answer = await first;
    for (let round = 1; round < MAX_ROUNDS && answer.enforcement !== this.#options.policy.value; round++) {
      answer = await this.#answer(check);
    }
    return answer;
  }

  #answer(check: Check): Answer | Promise<Answer> {
    const enforcement = this.#options.policy.value;
    if (enforcement === undefined) return { outcome: withoutDecision('policy_missing') };
    const destination = this.#destinations.of(check.asking, check.destinationId, check.port);
    if (typeof destination === 'string') return { outcome: withoutDecision(destination), enforcement };
    if (!isHeld(enforcement.keptFor, destination.namespace))
      return { outcome: withoutDecision('policy_missing', destination.spiffeId), enforcement };
    const call = createCall(check, { destination, enforcement, atMs: this.#options.clock.nowMs() });
    if (this.#options.staleness.value) return this.#ofStale(call, destination, enforcement);
    // What policies say of an ambiguous request says more than that its token cannot be told.
    if (call.refused !== undefined && decide(enforcement.snapshot, call).verdict === 'deny')
      return this.#decide(call, undefined, enforcement);
    const { keys, verify } = this.#options;
    const outcome = userOf(call, { enforcement, keys, verify });
    if (outcome === undefined) return this.#decide(call, undefined, enforcement);
    if (!(outcome instanceof Promise)) return this.#afterUser(call, outcome, enforcement);
    return outcome.then((settled) => this.#afterUser(call, settled, enforcement));
  }

  #ofStale(call: Call, destination: KnownDestination, enforcement: Enforcement): Answer {
    const verdict = failsOpen(enforcement.snapshot, destination) ? 'allow' : 'deny';
    return { outcome: withoutDecision('policy_stale', destination.spiffeId, verdict), call, enforcement };
  }

  #afterUser(call: Call, outcome: UserOutcome, enforcement: Enforcement): Answer | Promise<Answer> {
    if (outcome.kind === 'user') return this.#decide({ ...call, user: outcome.user }, outcome.user, enforcement);
    if (outcome.kind === 'anonymous') return this.#decide(call, undefined, enforcement);
    return { outcome: afterRefusedUser(outcome, call), call, enforcement };
  }

  #decide(call: Call, user: User | undefined, enforcement: Enforcement): Answer | Promise<Answer> {
    const { relations } = this.#options;
    const { snapshot } = enforcement;
    const decision = decide(snapshot, call);
    const answer = (decided: Decision): Answer => ({
      outcome: afterDecision(decided, { call, user, snapshot }),
      call,
      enforcement,
    });
    if (decision.pending === undefined || relations === undefined) return answer(decision);
    return decideAsync(snapshot, call, relations).then(answer);
  }

  #failed(err: unknown): Answer {
    this.#failures.error(err, 'a call could not be decided; denied');
    return { outcome: withoutDecision('internal') };
  }

  #done(check: Check, { outcome, call }: Answer, startedMs: number): Outcome {
    const { clock, onDecided } = this.#options;
    if (onDecided === undefined) return outcome;
    try {
      onDecided({ check, outcome, call, atMs: clock.nowMs(), durationMs: clock.monotonicMs() - startedMs });
    } catch (err) {
      this.#failures.error(err, 'a decided call could not be recorded');
    }
    return outcome;
  }
}
