import type { KeyObject } from 'node:crypto';
import { notYet } from './not-yet.ts';
import type { PublicKeyInfo } from './public-key.ts';

/** The bits of the key usage extension, by their names in RFC 5280 §4.2.1.3. */
export type KeyUsage =
  | 'digitalSignature'
  | 'contentCommitment'
  | 'keyEncipherment'
  | 'dataEncipherment'
  | 'keyAgreement'
  | 'keyCertSign'
  | 'cRLSign'
  | 'encipherOnly'
  | 'decipherOnly';

/** An X.509 certificate, read strictly. Nothing is verified by reading. */
export interface Certificate {
  /** The whole certificate, DER. */
  readonly raw: Uint8Array;
  /** The serial number in lower-case hexadecimal without leading zeros; `BigInt('0x' + serialHex)` is its number. */
  readonly serialHex: string;
  readonly subjectRaw: Uint8Array;
  readonly issuerRaw: Uint8Array;
  readonly subjectCommonName: string | undefined;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly publicKeyInfo: PublicKeyInfo;
  /** The SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  /** Imported on the first call, then kept. */
  publicKey(): KeyObject;
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly isCa: boolean;
  readonly pathLength: number | undefined;
  /** Undefined when the extension is absent. */
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  /** Dotted object identifiers; undefined when the extension is absent. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly subjectKeyId: Uint8Array | undefined;
  readonly authorityKeyId: Uint8Array | undefined;
  /** Dotted object identifiers of all critical extensions. */
  readonly criticalExtensions: ReadonlySet<string>;
  /** Those among them that this reader does not process. */
  readonly unknownCriticalExtensions: readonly string[];
  /** Dotted object identifier of the signature algorithm. */
  readonly signatureAlgorithm: string;
  /** The TBSCertificate, DER: what the signature covers. */
  readonly signedPart: Uint8Array;
  readonly signature: Uint8Array;
}

/**
 * Reads one DER certificate.
 *
 * @throws IdentityError `invalid_argument`, naming `field`
 */
export function parseCertificate(der: Uint8Array, field = 'certificate'): Certificate {
  return notYet(der, field);
}

/** Reads the certificates of a PEM file, in order. Other blocks and text outside of blocks are refused. */
export function parsePemCertificates(pem: string, field = 'certificates'): readonly Certificate[] {
  return notYet(pem, field);
}

/** Writes DER as a PEM block, such as `encodePem('CERTIFICATE', der)`. */
export function encodePem(label: string, der: Uint8Array): string {
  return notYet(label, der);
}

/** Reads all blocks of one label in a PEM text; returns their DER. */
export function decodePem(pem: string, label: string, field = 'pem'): readonly Uint8Array[] {
  return notYet(pem, label, field);
}
