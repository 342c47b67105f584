import type { KeyObject } from 'node:crypto';
import type { BundleSource } from './bundle.ts';
import type { Certificate } from './certificate.ts';
import { notYet } from './not-yet.ts';
import type { SpiffeId } from './spiffe-id.ts';

/** What a verified X509-SVID proves. */
export interface VerifiedX509Svid {
  readonly id: SpiffeId;
  readonly leaf: Certificate;
  /** When the first certificate of the path ends, in milliseconds. */
  readonly expiresAtMs: number;
}

/**
 * Verifies a presented chain, leaf first, against the bundle of the ID's own trust domain (X509-SVID §5).
 *
 * @throws IdentityError `invalid_argument` for what cannot be read, `unauthenticated` for what is not to be trusted
 */
export function verifyX509Svid(chainDer: readonly Uint8Array[], bundles: BundleSource, nowMs: number): VerifiedX509Svid {
  return notYet(chainDer, bundles, nowMs);
}

/** An X509-SVID with its private key, as a workload holds it. */
export interface X509Svid {
  readonly id: SpiffeId;
  /** Leaf first. */
  readonly chain: readonly Certificate[];
  readonly privateKey: KeyObject;
  readonly expiresAtMs: number;
}

/** Reads an X509-SVID as the Workload API delivers it. @throws IdentityError `invalid_argument`, also when the key is not the leaf's */
export function parseX509Svid(chainDer: readonly Uint8Array[], privateKey: KeyObject): X509Svid {
  return notYet(chainDer, privateKey);
}

/** Reads an X509-SVID from PEM: certificates, leaf first, and a PKCS#8 key. */
export function parseX509SvidPem(certificatesPem: string, privateKeyPem: string): X509Svid {
  return notYet(certificatesPem, privateKeyPem);
}
