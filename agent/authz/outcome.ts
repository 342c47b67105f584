import type { Snapshot } from '../../policy/compile/snapshot.ts';
import { missingScopes } from '../../policy/missing-scopes.ts';
import type { Call, Decision, User } from '../../policy/model.ts';
import type { UserOutcome } from '../../policy/users/authenticate.ts';
import { denialOf, refusalOf, type UserRefusal } from '../../policy/users/challenge.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { Outcome } from './check.ts';

/** Why there is no decision. */
export type NoDecision = 'no_identity' | 'ambiguous_identity' | 'policy_missing' | 'policy_stale' | 'internal';

const NO_HEADERS: ReadonlyMap<string, string> = new Map();

/** The outcome of a call that was not decided by policies; a denial, unless its destination fails open. */
export function withoutDecision(reason: NoDecision, destinationId?: SpiffeId, verdict: 'allow' | 'deny' = 'deny'): Outcome {
  const status = verdict === 'allow' ? 200 : reason === 'internal' ? 503 : 403;
  return { verdict, status, headers: NO_HEADERS, reason, destinationId };
}

const USER_REASONS = { missing: 'user_missing', refused: 'user_refused', unavailable: 'user_unavailable' } as const;

/** The outcome of a call whose user is not accepted. */
export function afterRefusedUser(user: Exclude<UserOutcome, { kind: 'user' | 'anonymous' }>, { destination }: Call): Outcome {
  const refusal = refusalOf(user) ?? denialOf();
  return { ...denied(refusal), reason: USER_REASONS[user.kind], destinationId: destination.spiffeId };
}

/** What a decision was about. */
export interface DecisionContext {
  readonly call: Call;
  readonly user: User | undefined;
  readonly snapshot: Snapshot;
}

/** The outcome of a call that policies decided. */
export function afterDecision(decision: Decision, { call, user, snapshot }: DecisionContext): Outcome {
  const { reason } = decision;
  const destinationId = call.destination.spiffeId;
  if (decision.verdict === 'allow') {
    return { verdict: 'allow', status: 200, headers: NO_HEADERS, reason, decision, user, destinationId };
  }
  const scopes = reason === 'no_rule_matches' ? missingScopes(snapshot, call) : [];
  return { ...denied(denialOf(scopes)), reason, decision, user, destinationId };
}

function denied({ status, challenge, retryAfterSeconds }: UserRefusal): Pick<Outcome, 'verdict' | 'status' | 'headers'> {
  if (challenge === undefined && retryAfterSeconds === undefined) return { verdict: 'deny', status, headers: NO_HEADERS };
  const headers = new Map<string, string>();
  if (challenge !== undefined) headers.set('www-authenticate', challenge);
  if (retryAfterSeconds !== undefined) headers.set('retry-after', String(retryAfterSeconds));
  return { verdict: 'deny', status, headers };
}
