import { createHash } from 'node:crypto';
import { IdentityError } from '../core/errors.ts';
import {
  encodeAuthorityKeyId,
  encodeBasicConstraints,
  encodeExtendedKeyUsage,
  encodeKeyUsage,
  encodeSubjectAltName,
  encodeSubjectKeyId,
  encodeTbs,
} from './certificate-writer.ts';
import { encodeName, withCommonName } from './distinguished-name.ts';
import type { Subject } from './distinguished-name.ts';
import { KEY_PURPOSE } from './extensions.ts';
import { parsePublicKey } from './public-key.ts';
import type { KeyKind } from './public-key.ts';
import type { CertificateSignatureAlgorithm } from './signature-algorithm.ts';
import type { SpiffeId } from './spiffe-id.ts';

export type { CertificateSignatureAlgorithm } from './signature-algorithm.ts';
export type { Subject } from './distinguished-name.ts';
export { assembleCertificate } from './certificate-writer.ts';

/** The subject of a workload's X509-SVID unless configured otherwise, as in SPIRE. */
export const DEFAULT_SVID_SUBJECT: Subject = { country: 'US', organization: 'SPIRE' };
/** The subject of an X.509 authority unless configured otherwise, as in SPIRE. */
export const DEFAULT_AUTHORITY_SUBJECT: Subject = { country: 'US', organization: 'SPIFFE' };

/** What leaf and authority certificates have in common. */
interface CommonProfile {
  /** Unsigned, big-endian, at most 20 bytes with the highest bit clear, not zero. */
  readonly serial: Uint8Array;
  readonly signatureAlgorithm: CertificateSignatureAlgorithm;
  /** Written to the second; fractions are dropped. */
  readonly notBeforeMs: number;
  /** Written to the second; fractions are dropped. */
  readonly notAfterMs: number;
  /** A subject, or a Name in DER as taken from a CSR. */
  readonly subject: Subject | Uint8Array;
  /** The SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly id: SpiffeId;
  /** See `subjectKeyIdOf` in `public-key.ts`. */
  readonly subjectKeyId: Uint8Array;
}

/** Everything that goes into an X509-SVID. */
export interface LeafProfile extends CommonProfile {
  /** The authority's subject Name, DER. */
  readonly issuerRaw: Uint8Array;
  /** The first becomes the common name of the subject, as in SPIRE. */
  readonly dnsNames: readonly string[];
  readonly authorityKeyId: Uint8Array;
}

/** Everything that goes into an X.509 authority's certificate. */
export interface AuthorityProfile extends CommonProfile {
  /** The issuer's Name, DER; the certificate's own subject when left out (self-signed). */
  readonly issuerRaw?: Uint8Array;
  readonly pathLength?: number;
  /** Left out when self-signed, as in SPIRE. */
  readonly authorityKeyId?: Uint8Array;
}

// X509-SVID §4.3 leaves the other usages open. SPIRE sets all three for every key; RFC 8813 §3 forbids keyEncipherment for EC keys,
// RFC 8410 §5 both others for Ed25519, and an RSA key agrees on nothing: so each key gets what it can do.
const EC_KEY_USAGE = encodeKeyUsage('digitalSignature', 'keyAgreement');
const LEAF_KEY_USAGE: Readonly<Record<KeyKind, Uint8Array>> = {
  'ec-p256': EC_KEY_USAGE,
  'ec-p384': EC_KEY_USAGE,
  'ec-p521': EC_KEY_USAGE,
  rsa: encodeKeyUsage('digitalSignature', 'keyEncipherment'),
  ed25519: encodeKeyUsage('digitalSignature'),
};
const LEAF_PURPOSES = encodeExtendedKeyUsage(KEY_PURPOSE.serverAuth, KEY_PURPOSE.clientAuth);
const LEAF_CONSTRAINTS = encodeBasicConstraints(false);
const AUTHORITY_KEY_USAGE = encodeKeyUsage('keyCertSign', 'cRLSign');
const ASCII = /^[\x21-\x7e]+$/;

/**
 * The TBSCertificate of an X509-SVID with the extensions that SPIRE writes, in its order (X509-SVID §2–§4); only the key usage
 * goes by the key. It is not linted: see `lintX509Svid`.
 *
 * @returns DER, ready to be signed and passed to `assembleCertificate`
 * @throws IdentityError `invalid_argument` when a DNS name is not ASCII or the key is not accepted
 */
export function buildX509SvidTbs(profile: LeafProfile): Uint8Array {
  const { dnsNames, id } = profile;
  const nonAscii = dnsNames.findIndex((name) => !ASCII.test(name));
  if (nonAscii !== -1) throw new IdentityError('invalid_argument', 'is not ASCII', { field: `dns_names[${nonAscii}]` });
  const subjectRaw = leafSubject(profile.subject, dnsNames[0]);
  return encodeTbs({
    ...profile,
    subjectRaw,
    extensions: [
      LEAF_KEY_USAGE[parsePublicKey(profile.spki, 'spki').kind],
      LEAF_PURPOSES,
      LEAF_CONSTRAINTS,
      encodeSubjectKeyId(profile.subjectKeyId),
      encodeAuthorityKeyId(profile.authorityKeyId),
      // RFC 5280 §4.2.1.6: critical if and only if there is no subject.
      encodeSubjectAltName({ dnsNames, uris: [id.toString()] }, subjectRaw.length === 2),
    ],
  });
}

function leafSubject(subject: Subject | Uint8Array, commonName: string | undefined): Uint8Array {
  if (subject instanceof Uint8Array) return commonName === undefined ? subject : withCommonName(subject, commonName);
  return encodeName(commonName === undefined ? subject : { ...subject, commonName });
}

/**
 * The TBSCertificate of an X.509 authority (X509-SVID §3.2), self-signed or below another one.
 *
 * @returns DER, ready to be signed and passed to `assembleCertificate`
 */
export function buildX509AuthorityTbs(profile: AuthorityProfile): Uint8Array {
  const subjectRaw = profile.subject instanceof Uint8Array ? profile.subject : encodeName(profile.subject);
  const authorityKeyId = profile.authorityKeyId === undefined ? [] : [encodeAuthorityKeyId(profile.authorityKeyId)];
  return encodeTbs({
    ...profile,
    issuerRaw: profile.issuerRaw ?? subjectRaw,
    subjectRaw,
    extensions: [
      AUTHORITY_KEY_USAGE,
      encodeBasicConstraints(true, profile.pathLength),
      encodeSubjectKeyId(profile.subjectKeyId),
      ...authorityKeyId,
      encodeSubjectAltName({ dnsNames: [], uris: [profile.id.toString()] }, subjectRaw.length === 2),
    ],
  });
}

/** SPIRE's unique ID of a SPIFFE ID: the first half of the SHA-256 of its text, in hexadecimal. */
export function uniqueIdOf(id: SpiffeId): string {
  return createHash('sha256').update(id.toString()).digest('hex').slice(0, 32);
}
