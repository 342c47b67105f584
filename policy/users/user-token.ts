import { IdentityError } from '../../core/errors.ts';
import { splitAnyJws } from '../../spiffe/jwt.ts';
import type { JwsParts } from '../../spiffe/jwt.ts';
import { isSpiffeScheme } from './subject.ts';
import { parseJsonObject } from '../../spiffe/strict-json.ts';
import type { JsonObject } from '../../spiffe/strict-json.ts';
import type { User } from '../model.ts';
import { actorsOf } from './actors.ts';
import { audiencesOf, checkTimes, mapClaims, SUBJECT_ISSUER_CLAIM } from './claims.ts';
import { isUserTokenAlgorithm, verifyWithKeys } from './signature.ts';
import type { KeySource, TokenIssuer } from './token-issuer.ts';

/** Largest token of a user that is read, in bytes; what fits into a header. */
export const MAX_USER_TOKEN_BYTES = 16_384;
/** Longest subject; OpenID Connect Core §2 allows 255 characters. */
const MAX_SUBJECT_CHARS = 255;

/** Types of token that are for APIs or say who a user is; others (such as `logout+jwt`, `dpop+jwt`, `wit+jwt`) are for something else. */
const TYPES: ReadonlySet<string> = new Set(['jwt', 'at+jwt']);

/** What a verified token proves. */
export interface VerifiedUserToken {
  readonly user: User;
  readonly audiences: readonly string[];
  readonly expiresAtMs: number;
  /** The issuer that signed it. */
  readonly tokenIssuer: string;
}

/** What {@link verifyUserToken} needs. */
export interface VerifyUserTokenOptions {
  /** Whose tokens are accepted; several may have the same name. */
  readonly issuers: readonly TokenIssuer[];
  readonly keys: KeySource;
  readonly nowMs: number;
  /**
   * The issuer of the own token exchange. It alone may name SPIFFE IDs as subject and callers, and says for a user which issuer
   * the user comes from.
   */
  readonly ownIssuer?: string | undefined;
}

/**
 * Verifies a token of a user: a signed JWT of one of the issuers, for one of the audiences, valid now (RFC 7519, RFC 8725; access
 * tokens of RFC 9068 and ID tokens alike). Nothing of the token is in any error.
 *
 * @throws IdentityError `unauthenticated` for a token that is not to be trusted, `unavailable` when the issuer's keys are not to be
 *   had, `failed_precondition` when the issuer's configuration cannot be used
 * @example
 * const { user } = await verifyUserToken(token, { issuers, keys, nowMs: clock.nowMs() });
 */
export async function verifyUserToken(token: string, options: VerifyUserTokenOptions): Promise<VerifiedUserToken> {
  const { jws, claims } = readToken(token);
  const named = options.issuers.filter(({ issuer }) => issuer === claims['iss']);
  const [first] = named;
  if (first === undefined) throw refused('is of an issuer that is not accepted');
  const audiences = audiencesOf(claims);
  const issuer = named.find((each) => each.audiences.some((audience) => audiences.includes(audience)));
  if (issuer === undefined) throw refused('is not for this audience');
  const isOwn = issuer.issuer === options.ownIssuer;
  checkType(jws.type, isOwn);
  const { expiresAtMs } = checkTimes(claims, options.nowMs);
  verifyWithKeys(jws, await options.keys.keysOf(issuer, jws.keyId));
  return { user: userOf(claims, issuer, isOwn), audiences, expiresAtMs, tokenIssuer: issuer.issuer };
}

function readToken(token: string): { readonly jws: JwsParts; readonly claims: JsonObject } {
  if (token.length > MAX_USER_TOKEN_BYTES) throw refused(`is larger than ${MAX_USER_TOKEN_BYTES} bytes`);
  try {
    const jws = splitAnyJws(token);
    if (!isUserTokenAlgorithm(jws.algorithm)) throw refused('is signed with an algorithm that is not accepted');
    return { jws, claims: parseJsonObject(jws.payloadBytes, 'token payload') };
  } catch (cause) {
    if (cause instanceof IdentityError && cause.code === 'invalid_argument') throw refused(`cannot be read: ${cause.message}`);
    throw cause;
  }
}

/** RFC 8725 §3.11: a kind of token is never taken for another. RFC 9068 §4: ours are access tokens and say so. */
function checkType(type: string | undefined, isOwn: boolean): void {
  const name = (type ?? 'jwt').toLowerCase().replace(/^application\//, '');
  if (isOwn ? name !== 'at+jwt' : !TYPES.has(name)) throw refused('is of a type that is for something else (typ)');
}

function userOf(claims: JsonObject, issuer: TokenIssuer, isOwn: boolean): User {
  const { sub, act, cnf, [SUBJECT_ISSUER_CLAIM]: subjectIssuer } = claims;
  // RFC 9449 §7.1, RFC 8705 §3: a token that is bound to a key is worth nothing without proof of that key.
  if (cnf !== undefined) throw refused('is bound to a key (cnf), of which a bearer shows no proof');
  if (typeof sub !== 'string' || sub === '') throw refused('does not say who the user is (sub)');
  // oxlint-disable-next-line no-control-regex -- control characters are what this is about
  if (sub.length > MAX_SUBJECT_CHARS || /[\u0000-\u001F\u007F]/.test(sub))
    throw refused('has a subject that is not accepted (sub)');
  const actors = actorsOf(act);
  const names = [sub, ...actors.map(({ subject }) => subject)];
  if (!isOwn && names.some(isSpiffeScheme)) throw refused('names a SPIFFE ID, which this issuer may not');
  const origin = isOwn && typeof subjectIssuer === 'string' ? subjectIssuer : issuer.issuer;
  return { issuer: origin, subject: sub, claims: mapClaims(claims, issuer.claims), actors };
}

function refused(message: string): IdentityError {
  return new IdentityError('unauthenticated', `the token ${message}`);
}
