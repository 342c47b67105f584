import type { webcrypto } from 'node:crypto';
import type { KeyAlgorithm, SigningKey } from './key-store.ts';

/** A key of the port in the shape that Web Crypto libraries take. */
export interface WebCryptoKey {
  readonly crypto: webcrypto.Crypto;
  /** Stands for the private key; only `crypto` can sign with it. */
  readonly signingKey: webcrypto.CryptoKey;
}

// Whoever takes an ECDSA signature apart must know the curve.
const ALGORITHMS: Readonly<Record<KeyAlgorithm, WebCryptoAlgorithm>> = {
  'ec-p256': { name: 'ECDSA', namedCurve: 'P-256', hash: { name: 'SHA-256' } },
  'ec-p384': { name: 'ECDSA', namedCurve: 'P-384', hash: { name: 'SHA-384' } },
  'rsa-2048': { name: 'RSASSA-PKCS1-v1_5', hash: { name: 'SHA-256' } },
  'rsa-4096': { name: 'RSASSA-PKCS1-v1_5', hash: { name: 'SHA-256' } },
};

interface WebCryptoAlgorithm {
  readonly name: string;
  readonly namedCurve?: string;
  readonly hash: { readonly name: string };
}

/**
 * A `Crypto` whose `sign` goes through the key port, so that a library signs with a key that it cannot see, be it in this
 * process or in hardware. Everything else is `@peculiar/webcrypto`, loaded here and now: only making an authority needs it.
 */
export async function webCryptoOf(key: SigningKey): Promise<WebCryptoKey> {
  const { Crypto } = await import('@peculiar/webcrypto');
  // The cast is sound: the provider implements the whole interface; its own declarations name types of browsers.
  const crypto = new Crypto() as webcrypto.Crypto;
  const algorithm = ALGORITHMS[key.algorithm];
  const signingKey: webcrypto.CryptoKey = { type: 'private', extractable: false, usages: ['sign'], algorithm };
  const sign = crypto.subtle.sign.bind(crypto.subtle);
  crypto.subtle.sign = async (parameters, candidate, data) => {
    if (candidate !== signingKey) return sign(parameters, candidate, data);
    const bytes = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
    return new Uint8Array(await key.sign(bytes, 'ieee-p1363')).buffer;
  };
  return { crypto, signingKey };
}
