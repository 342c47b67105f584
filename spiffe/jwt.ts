import { constants, sign, verify } from 'node:crypto';
import type { KeyObject, SignKeyObjectInput } from 'node:crypto';
import { IdentityError } from '../core/errors.ts';
import { decodeBase64url, encodeBase64url } from './base64url.ts';
import { parseJsonObject } from './strict-json.ts';
import type { JsonObject } from './strict-json.ts';

/** The signature algorithms that the SPIFFE standards allow for tokens (JWT-SVID §2.1, WIT-SVID §2.3). */
export type JwsAlgorithm = 'RS256' | 'RS384' | 'RS512' | 'ES256' | 'ES384' | 'ES512' | 'PS256' | 'PS384' | 'PS512';

/** Largest token that is read, in bytes. */
export const MAX_TOKEN_BYTES = 32_768;

interface Scheme {
  readonly hash: string;
  /** What a key must be to fit, as {@link keyNameOf} names it. */
  readonly key: 'rsa' | 'prime256v1' | 'secp384r1' | 'secp521r1';
  readonly isPss: boolean;
  /** Bytes of an ECDSA signature (RFC 7518 §3.4). */
  readonly signatureBytes?: number;
}

const SCHEMES: ReadonlyMap<string, Scheme> = new Map<JwsAlgorithm, Scheme>([
  ['RS256', { hash: 'sha256', key: 'rsa', isPss: false }],
  ['RS384', { hash: 'sha384', key: 'rsa', isPss: false }],
  ['RS512', { hash: 'sha512', key: 'rsa', isPss: false }],
  ['PS256', { hash: 'sha256', key: 'rsa', isPss: true }],
  ['PS384', { hash: 'sha384', key: 'rsa', isPss: true }],
  ['PS512', { hash: 'sha512', key: 'rsa', isPss: true }],
  ['ES256', { hash: 'sha256', key: 'prime256v1', isPss: false, signatureBytes: 64 }],
  ['ES384', { hash: 'sha384', key: 'secp384r1', isPss: false, signatureBytes: 96 }],
  ['ES512', { hash: 'sha512', key: 'secp521r1', isPss: false, signatureBytes: 132 }],
]);

const MIN_RSA_BITS = 2048;
const keyNames = new WeakMap<KeyObject, string>();

function keyNameOf(key: KeyObject): string {
  let name = keyNames.get(key);
  if (name === undefined) {
    const { asymmetricKeyType = 'secret', asymmetricKeyDetails: details } = key;
    const isWeak = asymmetricKeyType === 'rsa' && (details?.modulusLength ?? 0) < MIN_RSA_BITS;
    name = isWeak ? 'weak rsa' : asymmetricKeyType === 'ec' ? (details?.namedCurve ?? 'unknown curve') : asymmetricKeyType;
    keyNames.set(key, name);
  }
  return name;
}

/** Whether a text names one of the algorithms that are allowed. */
export function isJwsAlgorithm(text: unknown): text is JwsAlgorithm {
  return typeof text === 'string' && SCHEMES.has(text);
}

/** Whether a key can sign, or verify, with this algorithm. */
export function fitsKey(algorithm: JwsAlgorithm, key: KeyObject): boolean {
  return SCHEMES.get(algorithm)?.key === keyNameOf(key);
}

/**
 * The algorithm that a key signs with unless told otherwise: ES256, ES384 or ES512 by curve, RS256 for RSA, as in SPIRE.
 *
 * @throws IdentityError `invalid_argument` for a key that fits none
 */
export function defaultJwsAlgorithm(key: KeyObject): JwsAlgorithm {
  const algorithm = (['RS256', 'ES256', 'ES384', 'ES512'] as const).find((candidate) => fitsKey(candidate, key));
  if (algorithm === undefined)
    throw new IdentityError('invalid_argument', 'key can sign no token: use ECDSA (P-256, P-384, P-521) or RSA');
  return algorithm;
}

/** What {@link verifyJws} looks at. */
export interface SignedJws {
  readonly algorithm: JwsAlgorithm;
  /** What the signature covers. */
  readonly signedPart: string;
  readonly signature: Uint8Array;
}

/** A JWS in compact serialization, taken apart; its signature is not verified. */
export interface Jws extends SignedJws {
  readonly header: JsonObject;
  readonly payload: JsonObject;
  readonly keyId: string | undefined;
  readonly type: string | undefined;
}

/**
 * Takes a compact JWS with JSON claims apart, strictly (RFC 7515 §3.1, §5.2; RFC 7519 §7.2): three parts of canonical base64url,
 * JSON objects without duplicate names, an allowed `alg`, no `crit`.
 *
 * @throws IdentityError `invalid_argument`; nothing of the token is in the message
 */
export function parseJws(token: string, field = 'token'): Jws {
  const { payloadBytes, ...jws } = splitJws(token, field);
  return { ...jws, payload: parseJsonObject(payloadBytes, `${field} payload`) };
}

/** As {@link parseJws}, for any payload. */
export function splitJws(token: string, field = 'token'): Omit<Jws, 'payload'> & { readonly payloadBytes: Uint8Array } {
  const { algorithm, ...parts } = splitAnyJws(token, field);
  if (isJwsAlgorithm(algorithm)) return { ...parts, algorithm };
  throw new IdentityError('invalid_argument', 'has a signature algorithm that is not allowed', { field });
}

/** A compact JWS, taken apart; whether its algorithm may be used has not been asked. */
export interface JwsParts extends Omit<Jws, 'payload' | 'algorithm'> {
  readonly algorithm: unknown;
  readonly payloadBytes: Uint8Array;
}

/** As {@link splitJws}, for readers that allow other algorithms than the SPIFFE standards do; they must judge `algorithm`. */
export function splitAnyJws(token: string, field = 'token'): JwsParts {
  const fault = (message: string): IdentityError => new IdentityError('invalid_argument', message, { field });
  if (token.length > MAX_TOKEN_BYTES) throw fault(`is larger than ${MAX_TOKEN_BYTES} bytes`);
  const [headerText, payloadText, signatureText, ...more] = token.split('.', 4);
  if (headerText === undefined || payloadText === undefined || signatureText === undefined || more.length > 0) {
    throw fault('is not a JWS of three parts');
  }
  const decode = (text: string): Uint8Array => {
    const bytes = decodeBase64url(text);
    if (bytes === undefined) throw fault('is not base64url');
    return bytes;
  };
  const header = parseJsonObject(decode(headerText), `${field} header`);
  const { alg: algorithm, kid, typ, crit } = header;
  if (crit !== undefined) throw fault('has a critical header parameter that is not processed');
  if (kid !== undefined && typeof kid !== 'string') throw fault('has a key ID that is no text');
  if (typ !== undefined && typeof typ !== 'string') throw fault('has a type that is no text');
  const signedPart = token.slice(0, headerText.length + 1 + payloadText.length);
  const payloadBytes = decode(payloadText);
  return { header, algorithm, keyId: kid, type: typ, signedPart, signature: decode(signatureText), payloadBytes };
}

/**
 * Verifies the signature of a JWS. The algorithm must fit the key: an EC key is never used as RSA key or as secret.
 *
 * @throws IdentityError `unauthenticated`
 */
export function verifyJws(jws: SignedJws, key: KeyObject): void {
  const scheme = SCHEMES.get(jws.algorithm);
  const fits = scheme !== undefined && scheme.key === keyNameOf(key);
  if (!fits) throw new IdentityError('unauthenticated', 'token is signed with an algorithm that does not fit the key');
  const isLong = scheme.signatureBytes === undefined || jws.signature.length === scheme.signatureBytes;
  if (isLong && verify(scheme.hash, Buffer.from(jws.signedPart, 'latin1'), optionsOf(scheme, key), jws.signature)) return;
  throw new IdentityError('unauthenticated', 'token signature is not valid');
}

/**
 * Signs a payload as compact JWS.
 *
 * @throws IdentityError `invalid_argument` when `header.alg` does not fit the key
 * @example
 * signJws({ header: { alg: 'ES256', kid: 'key-1', typ: 'JWT' }, payload: claims, key });
 */
export function signJws(parts: {
  readonly header: JsonObject & { readonly alg: JwsAlgorithm };
  readonly payload: JsonObject;
  readonly key: KeyObject;
}): string {
  const signedPart = encodeJwsSigningInput(parts.header, parts.payload);
  const scheme = SCHEMES.get(parts.header.alg);
  if (scheme === undefined || scheme.key !== keyNameOf(parts.key)) {
    throw new IdentityError('invalid_argument', 'the signature algorithm does not fit the key');
  }
  const signature = sign(scheme.hash, Buffer.from(signedPart, 'latin1'), optionsOf(scheme, parts.key));
  return `${signedPart}.${signature.toString('base64url')}`;
}

/** What a signature covers: for signers whose key is not at hand as KeyObject. */
export function encodeJwsSigningInput(header: JsonObject, payload: JsonObject): string {
  return `${encodeBase64url(JSON.stringify(header))}.${encodeBase64url(JSON.stringify(payload))}`;
}

function optionsOf(scheme: Scheme, key: KeyObject): SignKeyObjectInput {
  if (scheme.key !== 'rsa') return { key, dsaEncoding: 'ieee-p1363' };
  const padding = scheme.isPss ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING;
  // RFC 7518 §3.5: the salt is as long as the hash.
  return { key, padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
}
