import type { Snapshot } from './compile/snapshot.ts';
import { YES } from './compile/tri.ts';
import type { Call, User } from './model.ts';
import { scopesOf } from './users/claims.ts';

// A denial is no reason to try every rule there is.
const MAX_ATTEMPTS = 16;

/**
 * The scopes that a call which no rule allows lacks, and no more than these: with them, a rule would allow it (RFC 6750 §3.1,
 * `insufficient_scope`). Empty where something else is missing, or more than scopes.
 *
 * @example
 * missingScopes(snapshot, call); // ['orders:write']
 */
export function missingScopes(snapshot: Snapshot, call: Call): readonly string[] {
  const { user } = call;
  if (user === undefined || call.refused !== undefined) return [];
  const held = scopesOf(user.claims);
  let attempts = 0;
  for (const { spec, test } of snapshot.viewFor(call.destination).enforced.allow.rules) {
    for (const { scopes = [] } of (spec.from ?? []).flatMap(({ users }) => users ?? [])) {
      const missing = scopes.filter((scope) => !held.includes(scope));
      if (missing.length === 0) continue;
      if (test({ ...call, user: withScopes(user, [...held, ...missing]) }) === YES) return missing;
      attempts += 1;
      if (attempts === MAX_ATTEMPTS) return [];
    }
  }
  return [];
}

function withScopes(user: User, scopes: readonly string[]): User {
  return { ...user, claims: { ...user.claims, scope: scopes.join(' ') } };
}
