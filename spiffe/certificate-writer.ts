import { contextConstructedTag, contextTag } from './der.ts';
import {
  der,
  derAscii,
  derBitString,
  derOctetString,
  derOid,
  derSequence,
  derSmallInteger,
  derTime,
  derTrue,
  derUnsigned,
} from './der-writer.ts';
import { EXTENSION, KEY_USAGES } from './extensions.ts';
import type { KeyUsage } from './extensions.ts';
import { encodeSignatureAlgorithm } from './signature-algorithm.ts';
import type { CertificateSignatureAlgorithm } from './signature-algorithm.ts';

/** Everything that a TBSCertificate is made of; all names, keys and extensions are DER already. */
export interface TbsContent {
  /** Unsigned, big-endian. */
  readonly serial: Uint8Array;
  readonly signatureAlgorithm: CertificateSignatureAlgorithm;
  readonly issuerRaw: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly subjectRaw: Uint8Array;
  readonly spki: Uint8Array;
  readonly extensions: readonly Uint8Array[];
}

const VERSION_3 = der(contextConstructedTag(0), derSmallInteger(2));

/** A TBSCertificate of X.509 version 3, DER. */
export function encodeTbs(content: TbsContent): Uint8Array {
  return derSequence(
    VERSION_3,
    derUnsigned(content.serial),
    encodeSignatureAlgorithm(content.signatureAlgorithm),
    content.issuerRaw,
    derSequence(derTime(content.notBeforeMs), derTime(content.notAfterMs)),
    content.subjectRaw,
    content.spki,
    der(contextConstructedTag(3), derSequence(...content.extensions)),
  );
}

/**
 * A certificate from its signed part, the algorithm and the signature.
 *
 * @param signature for ECDSA in DER, as `node:crypto` gives it by default
 */
export function assembleCertificate(
  tbs: Uint8Array,
  signatureAlgorithm: CertificateSignatureAlgorithm,
  signature: Uint8Array,
): Uint8Array {
  return derSequence(tbs, encodeSignatureAlgorithm(signatureAlgorithm), derBitString(signature));
}

/** One extension. */
export function encodeExtension(oid: string, value: Uint8Array, critical: boolean): Uint8Array {
  return critical ? derSequence(derOid(oid), derTrue, derOctetString(value)) : derSequence(derOid(oid), derOctetString(value));
}

/** KeyUsage, critical (X509-SVID §4.3). */
export function encodeKeyUsage(...usages: readonly KeyUsage[]): Uint8Array {
  let bits = 0;
  for (const usage of usages) bits |= 0x8000 >> KEY_USAGES.indexOf(usage);
  const bytes = (bits & 0xff) === 0 ? Uint8Array.of(bits >> 8) : Uint8Array.of(bits >> 8, bits & 0xff);
  let unusedBits = 0;
  while (unusedBits < 7 && ((bytes.at(-1) ?? 0) & (1 << unusedBits)) === 0) unusedBits++;
  return encodeExtension(EXTENSION.keyUsage, derBitString(bytes, unusedBits), true);
}

/** ExtKeyUsage from dotted object identifiers; not critical (X509-SVID §4.4). */
export function encodeExtendedKeyUsage(...purposes: readonly string[]): Uint8Array {
  return encodeExtension(EXTENSION.extendedKeyUsage, derSequence(...purposes.map(derOid)), false);
}

/** BasicConstraints; critical, as RFC 5280 §4.2.1.9 wants it for CAs. */
export function encodeBasicConstraints(isCa: boolean, pathLength?: number): Uint8Array {
  const flag = isCa ? [derTrue] : [];
  const length = pathLength === undefined ? [] : [derSmallInteger(pathLength)];
  return encodeExtension(EXTENSION.basicConstraints, derSequence(...flag, ...length), true);
}

/** SubjectKeyIdentifier (RFC 5280 §4.2.1.2); not critical. */
export function encodeSubjectKeyId(keyId: Uint8Array): Uint8Array {
  return encodeExtension(EXTENSION.subjectKeyId, derOctetString(keyId), false);
}

/** AuthorityKeyIdentifier with the key identifier alone (RFC 5280 §4.2.1.1); not critical. */
export function encodeAuthorityKeyId(keyId: Uint8Array): Uint8Array {
  return encodeExtension(EXTENSION.authorityKeyId, derSequence(der(contextTag(0), keyId)), false);
}

/** SubjectAltName (RFC 5280 §4.2.1.6), in the order that Go writes; the caller has checked that all names are ASCII. */
export function encodeSubjectAltName(
  names: { readonly dnsNames: readonly string[]; readonly uris: readonly string[] },
  critical: boolean,
): Uint8Array {
  const dnsNames = names.dnsNames.map((name) => derAscii(contextTag(2), name));
  const uris = names.uris.map((uri) => derAscii(contextTag(6), uri));
  return encodeExtension(EXTENSION.subjectAltName, derSequence(...dnsNames, ...uris), critical);
}
