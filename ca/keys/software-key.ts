import { createPublicKey, generateKeyPair, sign, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { IdentityError } from '../../core/errors.ts';
import { flattenEcdsaSignature } from './ecdsa-signature.ts';
import type { KeyAlgorithm, SignatureEncoding, SigningKey } from './key-store.ts';

const generate = promisify(generateKeyPair);

/** The hash that goes with each kind of key. */
export function hashOf(algorithm: KeyAlgorithm): 'sha256' | 'sha384' {
  return algorithm === 'ec-p384' ? 'sha384' : 'sha256';
}

/** A key that this process holds. */
export function softwareKey(id: string, algorithm: KeyAlgorithm, keyObject: KeyObject): SigningKey {
  const publicKey = createPublicKey(keyObject);
  const hash = hashOf(algorithm);
  const curveBytes = { 'ec-p256': 32, 'ec-p384': 48, 'rsa-2048': undefined, 'rsa-4096': undefined }[algorithm];
  return {
    id,
    algorithm,
    publicKey,
    publicKeySpki: publicKey.export({ type: 'spki', format: 'der' }),
    keyObject,
    // An options object around the key doubles the time that this takes.
    sign(data: Uint8Array, encoding: SignatureEncoding) {
      const signature = sign(hash, data, keyObject);
      return encoding === 'der' || curveBytes === undefined ? signature : flattenEcdsaSignature(signature, curveBytes);
    },
  };
}

/** Makes a private key off the event loop. */
export async function generatePrivateKey(algorithm: KeyAlgorithm): Promise<KeyObject> {
  const pair = algorithm.startsWith('rsa')
    ? await generate('rsa', { modulusLength: algorithm === 'rsa-4096' ? 4096 : 2048 })
    : await generate('ec', { namedCurve: algorithm === 'ec-p384' ? 'P-384' : 'P-256' });
  return pair.privateKey;
}

/** Which kind a private key is. @throws IdentityError `invalid_argument` when it is none that an authority may have */
export function algorithmOf(key: KeyObject): KeyAlgorithm {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ec' && namedCurve === 'prime256v1') return 'ec-p256';
  if (key.asymmetricKeyType === 'ec' && namedCurve === 'secp384r1') return 'ec-p384';
  if (key.asymmetricKeyType === 'rsa' && modulusLength === 2048) return 'rsa-2048';
  if (key.asymmetricKeyType === 'rsa' && modulusLength === 4096) return 'rsa-4096';
  throw new IdentityError('invalid_argument', 'an authority key must be ECDSA P-256 or P-384, or RSA with 2,048 or 4,096 bits');
}
