import { IdentityError } from '../../core/errors.ts';
import type { User } from '../model.ts';
import { locateToken } from './locate-token.ts';
import type { TokenHeaders } from './locate-token.ts';
import type { KeySource, TokenIssuer } from './token-issuer.ts';
import { verifyUserToken } from './user-token.ts';

/** What a RequestAuthentication asks of a request. */
export interface TokenRequirement {
  readonly issuers: readonly TokenIssuer[];
  readonly tokens: 'Required' | 'Optional';
  /** Headers that may hold the token. */
  readonly headers: readonly string[];
}

/** Who the user of a request is, or why that cannot be said. */
export type UserOutcome =
  /** No token where none is needed. */
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'user'; readonly user: User; readonly expiresAtMs: number }
  /** 401: a token is needed and there is none. */
  | { readonly kind: 'missing' }
  /** 400 (`invalid_request`) or 401 (`invalid_token`). */
  | { readonly kind: 'refused'; readonly error: 'invalid_request' | 'invalid_token'; readonly description: string }
  /** 503: the issuer's keys are not to be had. Nobody is let through for that. */
  | { readonly kind: 'unavailable'; readonly retryAfterMs: number | undefined };

/** What {@link authenticateUser} looks at. */
export interface AuthenticateOptions {
  readonly headers: TokenHeaders;
  /** All that concern the destination: their issuers add up, and one that requires a token suffices. Empty: nobody is authenticated. */
  readonly requirements: readonly TokenRequirement[];
  readonly keys: KeySource;
  readonly nowMs: number;
  /** As for `verifyUserToken`. */
  readonly ownIssuer?: string | undefined;
  /** What verifies tokens: `verifyUserToken` unless given, such as one that remembers what it verified. */
  readonly verify?: typeof verifyUserToken | undefined;
}

/**
 * Authenticates the user of a request. A token that is there must be valid, also where none is required.
 *
 * @throws only what is no IdentityError
 * @example
 * const outcome = await authenticateUser({ headers, requirements: [people], keys, nowMs: clock.nowMs() });
 * if (outcome.kind === 'missing') respond(401, { 'www-authenticate': challengeOf(outcome) });
 */
export async function authenticateUser(options: AuthenticateOptions): Promise<UserOutcome> {
  const { requirements, headers, verify = verifyUserToken, ...verification } = options;
  if (requirements.length === 0) return { kind: 'anonymous' };
  const located = locateToken(
    headers,
    requirements.flatMap((each) => each.headers),
  );
  if (located.kind === 'missing')
    return requirements.some(({ tokens }) => tokens === 'Required') ? { kind: 'missing' } : { kind: 'anonymous' };
  if (located.kind === 'ambiguous') {
    return {
      kind: 'refused',
      error: 'invalid_request',
      description: 'the request has more than one token, or one that cannot be read',
    };
  }
  try {
    const issuers = requirements.flatMap((each) => each.issuers);
    const { user, expiresAtMs } = await verify(located.token, { ...verification, issuers });
    return { kind: 'user', user, expiresAtMs };
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error;
    if (error.code === 'unauthenticated') return { kind: 'refused', error: 'invalid_token', description: error.message };
    return { kind: 'unavailable', retryAfterMs: error.retryAfterMs };
  }
}
