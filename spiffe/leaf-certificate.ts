import { notYet } from './not-yet.ts';
import type { SpiffeId } from './spiffe-id.ts';

/** The algorithms that an X.509 authority signs with. */
export type CertificateSignatureAlgorithm =
  | 'ecdsa-with-SHA256'
  | 'ecdsa-with-SHA384'
  | 'ecdsa-with-SHA512'
  | 'sha256WithRSAEncryption'
  | 'sha384WithRSAEncryption'
  | 'sha512WithRSAEncryption'
  | 'ed25519';

/** The parts of a distinguished name that an SVID's subject may have. */
export interface Subject {
  readonly country?: string;
  readonly organization?: string;
  readonly organizationalUnit?: string;
  readonly commonName?: string;
  /** The attribute x500UniqueIdentifier (2.5.4.45), see {@link uniqueIdOf}. */
  readonly uniqueId?: string;
  readonly serialNumber?: string;
}

/** Everything that goes into an X509-SVID. */
export interface LeafProfile {
  /** Unsigned, big-endian, at most 20 bytes, not zero. */
  readonly serial: Uint8Array;
  /** The authority's subject Name, DER. */
  readonly issuerRaw: Uint8Array;
  readonly signatureAlgorithm: CertificateSignatureAlgorithm;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** A subject, or a Name in DER as taken from a CSR. The first DNS name becomes the common name, as in SPIRE. */
  readonly subject: Subject | Uint8Array;
  /** The SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly id: SpiffeId;
  readonly dnsNames: readonly string[];
  readonly subjectKeyId: Uint8Array;
  readonly authorityKeyId: Uint8Array;
}

/** The TBSCertificate of an X509-SVID, DER. */
export function buildX509SvidTbs(profile: LeafProfile): Uint8Array {
  return notYet(profile);
}

/** A certificate from what was signed, the algorithm and the signature (for ECDSA in DER). */
export function assembleCertificate(
  tbs: Uint8Array,
  signatureAlgorithm: CertificateSignatureAlgorithm,
  signature: Uint8Array,
): Uint8Array {
  return notYet(tbs, signatureAlgorithm, signature);
}

/** SPIRE's unique ID of a SPIFFE ID: the first half of the SHA-256 of its text, in hexadecimal. */
export function uniqueIdOf(id: SpiffeId): string {
  return notYet(id);
}

/** Everything that goes into an X.509 authority's certificate. */
export interface AuthorityProfile {
  readonly serial: Uint8Array;
  /** The issuer's Name, DER; the certificate's own subject when self-signed. */
  readonly issuerRaw?: Uint8Array;
  readonly signatureAlgorithm: CertificateSignatureAlgorithm;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly subject: Subject | Uint8Array;
  readonly spki: Uint8Array;
  /** The trust domain's ID, or another URI without a path. */
  readonly id: SpiffeId;
  readonly pathLength?: number;
  readonly subjectKeyId: Uint8Array;
  readonly authorityKeyId?: Uint8Array;
}

/** The TBSCertificate of an X.509 authority, DER. */
export function buildX509AuthorityTbs(profile: AuthorityProfile): Uint8Array {
  return notYet(profile);
}
