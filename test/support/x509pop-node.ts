// A node that attests by x509pop, as SPIRE's agent plugin does.
import { constants, randomBytes, sign } from 'node:crypto';
import type { TestKey } from './test-keys.ts';

/** Bytes as JSON carries them. */
export const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
/** A value as the bytes of its JSON. */
export const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
/** What a node says of itself. */
export const payloadOf = (...chain: readonly Uint8Array[]): Uint8Array => json({ certificates: chain.map(base64) });

/** Answers a challenge as SPIRE's agent plugin does. */
export function respond(challenge: Uint8Array, { kind, privateKey: key }: TestKey): Uint8Array {
  const asked = JSON.parse(Buffer.from(challenge).toString()) as Record<string, { nonce: string } | null>;
  const nonce = randomBytes(32);
  const field = kind.startsWith('RSA') ? 'rsa_signature' : 'ecdsa_signature';
  const signed = Buffer.concat([Buffer.from(asked[field]?.nonce ?? '', 'base64'), nonce]);
  if (field === 'rsa_signature') {
    const signature = sign('sha256', signed, {
      key,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_MAX_SIGN,
    });
    return json({ rsa_signature: { nonce: base64(nonce), signature: base64(signature) }, ecdsa_signature: null });
  }
  const signature = sign('sha256', signed, { key, dsaEncoding: 'ieee-p1363' });
  const half = signature.length / 2;
  const number = (bytes: Uint8Array): string => base64(bytes.subarray(bytes.findIndex((byte) => byte !== 0)));
  return json({
    ecdsa_signature: { nonce: base64(nonce), r: number(signature.subarray(0, half)), s: number(signature.subarray(half)) },
  });
}
