import { IdentityError } from '../../core/errors.ts';
import type { JsonValue, JwtClaims } from '../model.ts';

/** The claims that RFC 7519 §4.1 registers, and those that bind a token to a key or an actor: nobody else may set them. */
const REGISTERED_CLAIMS: ReadonlySet<string> = new Set(['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'cnf', 'act']);

// A token travels in a header, and those of a request seldom may have more than 8 KiB together.
const MAX_BYTES = 4096;
const MAX_CLAIMS = 64;
const MAX_DEPTH = 8;

/** @throws IdentityError `invalid_argument` for a claim that is the CA's to set */
export function refuseRegisteredClaims(claims: Readonly<Record<string, unknown>>, field: string): void {
  const taken = Object.keys(claims).find((name) => REGISTERED_CLAIMS.has(name));
  if (taken !== undefined) throw new IdentityError('invalid_argument', `the claim "${taken}" is the CA's to set`, { field });
}

/**
 * Checks the claims that an entry is to give its JWT-SVIDs; undefined when there are none.
 *
 * @throws IdentityError `invalid_argument` for a registered claim, and for what is too much for a token
 */
export function parseCustomClaims(claims: { readonly [name: string]: JsonValue }, field: string): JwtClaims | undefined {
  const names = Object.keys(claims);
  if (names.length === 0) return undefined;
  const refuse = (why: string): IdentityError => new IdentityError('invalid_argument', why, { field });
  if (names.length > MAX_CLAIMS) throw refuse(`has ${names.length} claims; at most ${MAX_CLAIMS} are possible`);
  if (names.includes('')) throw refuse('a claim needs a name');
  refuseRegisteredClaims(claims, field);
  if (depthOf(claims) > MAX_DEPTH) throw refuse(`is nested more than ${MAX_DEPTH} deep`);
  const bytes = Buffer.byteLength(JSON.stringify(claims));
  if (bytes > MAX_BYTES) throw refuse(`takes ${bytes} bytes; at most ${MAX_BYTES} are possible`);
  return claims;
}

function depthOf(value: JsonValue): number {
  if (typeof value !== 'object' || value === null) return 0;
  let deepest = 0;
  // Stops soon after the limit: what is nested a thousand deep must not exhaust the stack.
  const visit = (each: JsonValue, depth: number): void => {
    deepest = Math.max(deepest, depth);
    if (depth > MAX_DEPTH || typeof each !== 'object' || each === null) return;
    for (const inner of Object.values(each)) if (typeof inner === 'object') visit(inner, depth + 1);
  };
  visit(value, 1);
  return deepest;
}
