import { MAX_ACTORS } from '../../policy/users/actors.ts';
import { scopesOf, SUBJECT_ISSUER_CLAIM } from '../../policy/users/claims.ts';
import type { VerifiedUserToken } from '../../policy/users/user-token.ts';
import type { Actor } from '../../policy/model.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { ExchangePolicy } from './exchange-policy.ts';
import { TokenError } from './token-error.ts';
import type { TokenRequest } from './token-request.ts';

/** What a token is decided by. */
export interface ExchangeTerms {
  readonly issuer: string;
  readonly policy: ExchangePolicy;
  readonly maxTtlMs: number;
  readonly nowMs: number;
}

/** A token that may be issued. */
export interface GrantedToken {
  /** All but `exp`, `iat` and `jti`. */
  readonly claims: Readonly<Record<string, unknown>>;
  readonly scopes: readonly string[];
  readonly notAfterMs: number;
}

/** What goes over from a subject token, beside who the user is. */
interface Subject {
  readonly token: VerifiedUserToken;
  /** Names of further claims to take over. */
  readonly claimNames: readonly string[];
}

/**
 * The token that a workload gets for a user (RFC 8693): for one audience, with no more scopes and no longer than the subject
 * token, and the workload itself as the last of those who acted.
 *
 * @param subject verified, and addressed to this workload
 * @throws TokenError
 */
export function exchangeToken(workload: SpiffeId, wanted: TokenRequest, subject: Subject, terms: ExchangeTerms): GrantedToken {
  const { user, expiresAtMs } = subject.token;
  if (expiresAtMs <= terms.nowMs) throw new TokenError('invalid_request', 'the subject token has expired');
  if (user.actors.length >= MAX_ACTORS) {
    throw new TokenError('invalid_request', `the subject token has passed through ${MAX_ACTORS} services, and no further`);
  }
  const limit = permitted(workload, wanted, terms);
  const own = scopesOf(user.claims);
  const scopes = scopesFor(wanted, limit === undefined ? own : own.filter((scope) => limit.includes(scope)));
  const carried = subject.claimNames.flatMap((name) => {
    const value = user.claims[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const claims = {
    ...Object.fromEntries(carried),
    ...commonClaims(workload, wanted, scopes, terms),
    sub: user.subject,
    // A subject means something only together with its issuer; machines that began a chain themselves have ours.
    ...(user.issuer === terms.issuer ? {} : { [SUBJECT_ISSUER_CLAIM]: user.issuer }),
    act: chainOf([{ subject: workload.toString() }, ...user.actors]),
  };
  return { claims, scopes, notAfterMs: Math.min(expiresAtMs, terms.nowMs + terms.maxTtlMs) };
}

/** The token that a workload gets for itself (RFC 6749 §4.4). @throws TokenError */
export function machineToken(workload: SpiffeId, wanted: TokenRequest, terms: ExchangeTerms): GrantedToken {
  const scopes = scopesFor(wanted, permitted(workload, wanted, terms) ?? []);
  const claims = { ...commonClaims(workload, wanted, scopes, terms), sub: workload.toString() };
  return { claims, scopes, notAfterMs: terms.nowMs + terms.maxTtlMs };
}

/** The scopes that policy allows; undefined: any. */
function permitted(
  workload: SpiffeId,
  { grant, audience }: TokenRequest,
  { policy }: ExchangeTerms,
): readonly string[] | undefined {
  const permission = policy.permits({ workload, grant, audience });
  if (permission === undefined) {
    throw new TokenError('invalid_target', `no rule lets ${workload.toString()} get a token for this audience (${grant})`);
  }
  return permission.scopes;
}

/** RFC 8693 §2.2.1: what is asked for, or all that may be had. Never silently less than what was asked for. */
function scopesFor({ scopes: asked }: TokenRequest, available: readonly string[]): readonly string[] {
  if (asked === undefined) return [...new Set(available)];
  if (asked.every((scope) => available.includes(scope))) return asked;
  throw new TokenError('invalid_scope', 'a scope is asked for that neither the subject token nor a rule gives');
}

/** RFC 9068 §2.2. */
function commonClaims(workload: SpiffeId, { audience }: TokenRequest, scopes: readonly string[], { issuer }: ExchangeTerms) {
  return {
    iss: issuer,
    aud: audience,
    client_id: workload.toString(),
    ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
  };
}

interface ActClaim {
  readonly sub: string;
  readonly iss?: string;
  readonly act?: ActClaim;
}

/** RFC 8693 §4.1: the one who acts now outermost. */
function chainOf(actors: readonly Actor[]): ActClaim | undefined {
  return actors.reduceRight<ActClaim | undefined>(
    (inner, { subject, issuer }) => ({
      sub: subject,
      ...(issuer === undefined ? {} : { iss: issuer }),
      ...(inner === undefined ? {} : { act: inner }),
    }),
    undefined,
  );
}
