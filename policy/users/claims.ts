import { IdentityError } from '../../core/errors.ts';
import { isJsonObject } from '../../spiffe/strict-json.ts';
import type { JsonObject } from '../../spiffe/strict-json.ts';
import type { Json } from '../schema/json.ts';
import { TOKEN_LEEWAY_MS } from '../../spiffe/token-claims.ts';

/** Names the issuer that a user comes from, in tokens of our own token exchange. */
export const SUBJECT_ISSUER_CLAIM = 'subject_issuer';

/** Claims that say what a token is: nothing may take their place. */
const REGISTERED: ReadonlySet<string> = new Set([
  'iss',
  'sub',
  'aud',
  'exp',
  'nbf',
  'iat',
  'jti',
  'act',
  'client_id',
  'cnf',
  SUBJECT_ISSUER_CLAIM,
]);

/** Whether a claim may be filled from elsewhere in a token. */
export function isMappable(claim: string): boolean {
  return !REGISTERED.has(claim);
}

/**
 * The claims as policies see them: each mapped one comes from its place alone, so that a claim of that name elsewhere in the
 * token, which a user may be able to set, counts for nothing. A single text becomes a list for `roles`.
 *
 * @param mapping claim → place, such as `roles` → `realm_access.roles`; a name with dots that is a claim itself comes first
 * @throws IdentityError `failed_precondition` for a mapping of a registered claim
 */
export function mapClaims(claims: JsonObject, mapping: Readonly<Record<string, string>>): Readonly<Record<string, Json>> {
  const mapped = new Map(Object.entries(claims));
  for (const [name, place] of Object.entries(mapping)) {
    if (!isMappable(name))
      throw new IdentityError('failed_precondition', `claims.${name}: a registered claim is never taken from elsewhere`);
    const value = valueAt(claims, place);
    if (value === undefined) mapped.delete(name);
    else mapped.set(name, name === 'roles' && typeof value === 'string' ? [value] : value);
  }
  // The cast is sound: everything in it was read from JSON.
  return Object.fromEntries(mapped) as Record<string, Json>;
}

function valueAt(claims: JsonObject, place: string): unknown {
  if (Object.hasOwn(claims, place)) return claims[place];
  return place
    .split('.')
    .reduce<unknown>((value, part) => (isJsonObject(value) && Object.hasOwn(value, part) ? value[part] : undefined), claims);
}

/** The scopes of a token: `scope`, one text (RFC 8693 §4.2), or `scp`, a list or one text. */
export function scopesOf({ scope, scp }: Readonly<Record<string, unknown>>): readonly string[] {
  const found = [scope, scp].flatMap((claim) =>
    typeof claim === 'string' ? claim.split(' ') : Array.isArray(claim) ? claim.filter((each) => typeof each === 'string') : [],
  );
  return [...new Set(found.filter((each) => each !== ''))];
}

/** When a token is valid. */
export interface Validity {
  readonly expiresAtMs: number;
}

/** Reads `exp`, `nbf` and `iat` (RFC 7519 §4.1) and refuses a token that is not valid now. @throws IdentityError `unauthenticated` */
export function checkTimes(claims: JsonObject, nowMs: number): Validity {
  const [expiresAtMs, notBeforeMs, issuedAtMs] = [timeOf(claims, 'exp'), timeOf(claims, 'nbf'), timeOf(claims, 'iat')];
  if (expiresAtMs === undefined) throw new IdentityError('unauthenticated', 'the token never expires (exp)');
  if (nowMs > expiresAtMs + TOKEN_LEEWAY_MS) throw new IdentityError('unauthenticated', 'the token has expired');
  if (notBeforeMs !== undefined && nowMs < notBeforeMs - TOKEN_LEEWAY_MS) {
    throw new IdentityError('unauthenticated', 'the token is not valid yet');
  }
  if (issuedAtMs !== undefined && nowMs < issuedAtMs - TOKEN_LEEWAY_MS) {
    throw new IdentityError('unauthenticated', 'the token is issued in the future');
  }
  return { expiresAtMs };
}

function timeOf(claims: JsonObject, name: string): number | undefined {
  const value = claims[name];
  if (value === undefined) return undefined;
  if (typeof value === 'number' && Math.abs(value) <= Number.MAX_SAFE_INTEGER / 1000) return value * 1000;
  throw new IdentityError('unauthenticated', `the token's ${name} is no time in seconds`);
}

/** The audiences of a token: one text, or a list of texts (RFC 7519 §4.1.3). @throws IdentityError `unauthenticated` */
export function audiencesOf({ aud }: JsonObject): readonly string[] {
  const values: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (values.length > 0 && values.every((value) => typeof value === 'string' && value !== '')) {
    // The cast is sound: each value was just seen to be text.
    return values as readonly string[];
  }
  throw new IdentityError('unauthenticated', 'the token has no audience (aud)');
}
