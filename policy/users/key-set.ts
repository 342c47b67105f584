import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { decodeBase64url } from '../../spiffe/base64url.ts';
import { parseJwk } from '../../spiffe/jwk.ts';
import { isJsonObject, parseJsonObject } from '../../spiffe/strict-json.ts';
import type { JsonObject } from '../../spiffe/strict-json.ts';
import type { IssuerKey } from './token-issuer.ts';

/** No issuer needs more; each key that is read costs an import. */
const MAX_KEYS = 100;
const FIELD = 'jwks';

/**
 * Reads the keys for signatures from a JWK set (RFC 7517 §5). Keys that are for something else, of a kind that is unknown here,
 * or that must not be used (symmetric, private, too weak) are passed over: one of them must not keep the others out.
 *
 * @throws IdentityError `invalid_argument` when it is no JWK set, or one with more than 100 keys
 */
export function parseKeySet(json: Uint8Array | string): readonly IssuerKey[] {
  const { keys } = parseJsonObject(json, FIELD);
  if (!Array.isArray(keys)) throw new IdentityError('invalid_argument', 'has no list of keys', { field: FIELD });
  if (keys.length > MAX_KEYS) throw new IdentityError('invalid_argument', `has more than ${MAX_KEYS} keys`, { field: FIELD });
  return keys.flatMap((key: unknown) => (isJsonObject(key) && isForSignatures(key) ? readKey(key) : []));
}

/** RFC 7517 §4.2, §4.3. */
function isForSignatures({ use, key_ops: operations }: JsonObject): boolean {
  if (use !== undefined && use !== 'sig') return false;
  return operations === undefined || (Array.isArray(operations) && operations.includes('verify'));
}

function readKey(jwk: JsonObject): readonly IssuerKey[] {
  const { kid, alg } = jwk;
  if ((kid !== undefined && typeof kid !== 'string') || (alg !== undefined && typeof alg !== 'string')) return [];
  const publicKey = publicKeyOf(jwk);
  return publicKey === undefined ? [] : [{ keyId: kid, algorithm: alg, publicKey }];
}

function publicKeyOf(jwk: JsonObject): KeyObject | undefined {
  try {
    return jwk['kty'] === 'OKP' ? edwardsKey(jwk) : parseJwk(jwk, FIELD)?.keyObject();
  } catch (error) {
    if (isIdentityError(error)) return undefined;
    throw error;
  }
}

/** RFC 8037 §2. Not in `spiffe/jwk.ts`, because no token of SPIFFE may be signed with such a key. */
function edwardsKey({ crv, x, d }: JsonObject): KeyObject | undefined {
  if (crv !== 'Ed25519' || typeof x !== 'string' || d !== undefined) return undefined;
  if (decodeBase64url(x)?.length !== 32) return undefined;
  return createPublicKey({ key: { kty: 'OKP', crv, x }, format: 'jwk' });
}
