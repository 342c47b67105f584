import { createPublicKey } from 'node:crypto';
import type { JsonWebKey, KeyObject } from 'node:crypto';
import { IdentityError } from '../core/errors.ts';
import { decodeBase64url } from './base64url.ts';
import { parsePublicKey } from './public-key.ts';
import type { PublicKeyInfo } from './public-key.ts';
import type { JsonObject } from './strict-json.ts';

const COORDINATE_BYTES: Readonly<Record<string, number>> = { 'P-256': 32, 'P-384': 48, 'P-521': 66 };
/** Members that only private and symmetric keys have (RFC 7518 §6). */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

/**
 * Reads the public key of a JWK (RFC 7517, RFC 7518 §6).
 *
 * @returns undefined for a key type or curve that is unknown here (Trust Domain and Bundle §4.2.1: such keys are ignored)
 * @throws IdentityError `invalid_argument` when the key is broken, private, or too weak
 */
export function parseJwk(jwk: JsonObject, field: string): PublicKeyInfo | undefined {
  const fault = (message: string, cause?: unknown): IdentityError =>
    new IdentityError('invalid_argument', message, { field, cause });
  const isEc = jwk['kty'] === 'EC';
  const coordinateBytes = isEc && typeof jwk['crv'] === 'string' ? COORDINATE_BYTES[jwk['crv']] : undefined;
  if (jwk['kty'] !== 'RSA' && coordinateBytes === undefined) return undefined;
  if (PRIVATE_MEMBERS.some((member) => jwk[member] !== undefined))
    throw fault('JWK has private parts; publish the public key only');
  const member = (name: string): string => {
    const text = jwk[name];
    const bytes = typeof text === 'string' ? decodeBase64url(text) : undefined;
    if (typeof text !== 'string' || bytes === undefined || bytes.length === 0)
      throw fault(`JWK member "${name}" is not base64url`);
    if (isEc && bytes.length !== coordinateBytes) throw fault(`JWK member "${name}" has a wrong length`);
    // RFC 7518 §2 (Base64urlUInt): as few bytes as the number needs. It also keeps oversized numbers out of the import below.
    if (!isEc && (bytes[0] === 0 || bytes.length > 1024)) throw fault(`JWK member "${name}" has a wrong length`);
    return text;
  };
  const key: JsonWebKey = isEc
    ? { kty: 'EC', crv: String(jwk['crv']), x: member('x'), y: member('y') }
    : { kty: 'RSA', n: member('n'), e: member('e') };
  let spki: Uint8Array;
  try {
    spki = createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'der' });
  } catch (cause) {
    throw fault('JWK is no valid key', cause);
  }
  return parsePublicKey(spki, field);
}

/** The JWK of a public key: `kty` and what belongs to it, nothing else. */
export function formatJwk(key: KeyObject): Readonly<Record<string, string>> {
  const jwk = key.export({ format: 'jwk' });
  const members = ['kty', 'crv', 'x', 'y', 'n', 'e'] as const;
  return Object.fromEntries(members.flatMap((name) => (typeof jwk[name] === 'string' ? [[name, jwk[name]]] : [])));
}
