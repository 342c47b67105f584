import { verify } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import { fitsKey, isJwsAlgorithm, verifyJws } from '../../spiffe/jwt.ts';
import type { JwsParts } from '../../spiffe/jwt.ts';
import type { IssuerKey } from './token-issuer.ts';

/** Most keys of one ID that are tried for one token. */
const MAX_TRIED = 4;

/**
 * Verifies a signature with the keys of one issuer: RS, PS and ES of RFC 7518, EdDSA of RFC 8037. Never `none`, never a shared
 * secret. A token that names no key is verified only where the issuer has a single key that fits.
 *
 * @throws IdentityError `unauthenticated`
 */
export function verifyWithKeys(jws: JwsParts, keys: readonly IssuerKey[]): void {
  const { algorithm } = jws;
  if (!isUserTokenAlgorithm(algorithm)) throw unverified('is signed with an algorithm that is not accepted');
  const fitting = keys.filter(
    (key) =>
      (jws.keyId === undefined || key.keyId === jws.keyId) &&
      (key.algorithm === undefined || key.algorithm === algorithm) &&
      (algorithm === 'EdDSA' ? key.publicKey.asymmetricKeyType === 'ed25519' : fitsKey(algorithm, key.publicKey)),
  );
  if (fitting.length === 0) throw unverified('is signed with a key that its issuer does not have');
  if (jws.keyId === undefined && fitting.length > 1) throw unverified('does not say which key of its issuer signed it');
  if (!fitting.slice(0, MAX_TRIED).some((key) => isSignedWith(jws, key))) throw unverified('has no valid signature');
}

/** Whether the algorithm is one that a token of a user may be signed with. */
export function isUserTokenAlgorithm(algorithm: unknown): algorithm is Parameters<typeof fitsKey>[0] | 'EdDSA' {
  return algorithm === 'EdDSA' || isJwsAlgorithm(algorithm);
}

function isSignedWith(jws: JwsParts, { publicKey }: IssuerKey): boolean {
  const { algorithm, signedPart, signature } = jws;
  if (algorithm === 'EdDSA') return verify(null, Buffer.from(signedPart, 'latin1'), publicKey, signature);
  try {
    if (!isJwsAlgorithm(algorithm)) return false;
    verifyJws({ algorithm, signedPart, signature }, publicKey);
    return true;
  } catch (error) {
    if (error instanceof IdentityError) return false;
    throw error;
  }
}

function unverified(message: string): IdentityError {
  return new IdentityError('unauthenticated', `the token ${message}`);
}
