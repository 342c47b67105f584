import { notYet } from './not-yet.ts';
import type { PublicKeyInfo } from './public-key.ts';
import type { SpiffeId } from './spiffe-id.ts';

/** A PKCS#10 certificate signing request, read strictly. */
export interface Csr {
  readonly raw: Uint8Array;
  /** The Name, DER; `30 00` when empty. */
  readonly subjectRaw: Uint8Array;
  readonly publicKeyInfo: PublicKeyInfo;
  /** The SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly signatureAlgorithm: string;
  readonly signedPart: Uint8Array;
  readonly signature: Uint8Array;
}

/** Reads a CSR; the signature is not verified. @throws IdentityError `invalid_argument`, naming `field` */
export function parseCsr(der: Uint8Array, field = 'csr'): Csr {
  return notYet(der, field);
}

/** Verifies that the CSR is signed with the key that it names. @throws IdentityError `invalid_argument` */
export function verifyCsr(csr: Csr, field = 'csr'): void {
  notYet(csr, field);
}

/** The one SPIFFE ID of a CSR. @throws IdentityError `invalid_argument` when there is none, more than one, or a wrong one */
export function spiffeIdOfCsr(csr: Csr, field = 'csr'): SpiffeId {
  return notYet(csr, field);
}
