import { IdentityError, isIdentityError } from '../core/errors.ts';
import { parseSpiffeId } from './spiffe-id.ts';
import type { SpiffeId } from './spiffe-id.ts';
import type { JsonObject } from './strict-json.ts';

/** How far the clocks of issuer and validator may differ; the same minute as go-spiffe and SPIRE. */
export const TOKEN_LEEWAY_MS = 60_000;

/** The claims that all kinds of token-based SVID have. */
export interface CommonClaims {
  readonly id: SpiffeId;
  readonly expiresAtMs: number;
  readonly notBeforeMs: number | undefined;
  readonly issuedAtMs: number | undefined;
}

/** Reads `sub`, `exp`, `nbf` and `iat`. @throws IdentityError `invalid_argument` when one is missing or of a wrong type */
export function readCommonClaims(claims: JsonObject): CommonClaims {
  const { sub } = claims;
  if (typeof sub !== 'string') throw claimFault('sub', 'is missing');
  const expiresAtMs = readTime(claims, 'exp');
  if (expiresAtMs === undefined) throw claimFault('exp', 'is missing');
  return {
    id: parseSpiffeId(sub, 'token.sub'),
    expiresAtMs,
    notBeforeMs: readTime(claims, 'nbf'),
    issuedAtMs: readTime(claims, 'iat'),
  };
}

/** A NumericDate (RFC 7519 §2) in milliseconds. */
function readTime(claims: JsonObject, name: string): number | undefined {
  const value = claims[name];
  if (value === undefined) return undefined;
  const isTime = typeof value === 'number' && Math.abs(value) <= Number.MAX_SAFE_INTEGER / 1000;
  if (!isTime) throw claimFault(name, 'is no time in seconds');
  return value * 1000;
}

/** Refuses a token that has expired or is not valid yet. @throws IdentityError `unauthenticated` */
export function checkValidity(claims: CommonClaims, nowMs: number): void {
  if (nowMs > claims.expiresAtMs + TOKEN_LEEWAY_MS) throw new IdentityError('unauthenticated', 'token has expired');
  if (claims.notBeforeMs !== undefined && nowMs < claims.notBeforeMs - TOKEN_LEEWAY_MS) {
    throw new IdentityError('unauthenticated', 'token is not valid yet');
  }
}

/** An error about one claim. */
export function claimFault(name: string, message: string): IdentityError {
  return new IdentityError('invalid_argument', message, { field: `token.${name}` });
}

/** Turns an authority that cannot be used into one that is not trusted. */
export function keyOf<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!isIdentityError(cause)) throw cause;
    throw new IdentityError('unauthenticated', 'token is signed with a key that is not accepted', { cause });
  }
}
