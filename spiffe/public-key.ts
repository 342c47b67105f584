import type { KeyObject } from 'node:crypto';
import { notYet } from './not-yet.ts';

/** The kinds of public key that Countersign accepts in certificates, CSRs and bundles. */
export type KeyKind = 'ec-p256' | 'ec-p384' | 'ec-p521' | 'rsa' | 'ed25519';

/** A public key as it stands in a certificate or CSR. */
export interface PublicKeyInfo {
  /** The SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly kind: KeyKind;
  /** Size of the RSA modulus or of the curve's field, in bits. */
  readonly bits: number;
  /** The key itself; imported on the first call, then kept. */
  keyObject(): KeyObject;
}

/** Reads a SubjectPublicKeyInfo; RSA below 2,048 or above 8,192 bits and unknown curves are refused, before any arithmetic. */
export function parsePublicKey(spki: Uint8Array, field = 'public_key'): PublicKeyInfo {
  return notYet(spki, field);
}

/** SHA-1 of the key's bits (RFC 5280 §4.2.1.2 method 1): what SPIRE writes as subject key identifier and names an authority by. */
export function subjectKeyIdOf(spki: Uint8Array): Uint8Array {
  return notYet(spki);
}
