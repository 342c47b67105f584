import type { KeyObject } from 'node:crypto';
import { IdentityError } from '../core/errors.ts';
import { DerReader, TAG, contextConstructedTag, contextTag } from './der.ts';
import { commonNameOf, parseName } from './distinguished-name.ts';
import type { NameAttribute } from './distinguished-name.ts';
import {
  EXTENSION,
  parseAuthorityKeyId,
  parseBasicConstraints,
  parseExtendedKeyUsage,
  parseKeyUsage,
  parseNameConstraints,
  parseSubjectAltName,
  parseSubjectKeyId,
  readExtensions,
} from './extensions.ts';
import type { Extensions, KeyUsage, NameConstraints } from './extensions.ts';
import { decodePem } from './pem.ts';
import { parsePublicKey } from './public-key.ts';
import type { PublicKeyInfo } from './public-key.ts';
import { parseSignatureAlgorithm } from './signature-algorithm.ts';

export type { KeyUsage } from './extensions.ts';
export { decodePem, encodePem } from './pem.ts';

/** An X.509 certificate, read strictly. Nothing is verified by reading. */
export interface Certificate extends TbsCertificate {
  /** The whole certificate, DER. */
  readonly raw: Uint8Array;
  /** The TBSCertificate, DER: what the signature covers. */
  readonly signedPart: Uint8Array;
  readonly signature: Uint8Array;
}

/** What the signed part of a certificate says. */
export interface TbsCertificate {
  /** The serial number in lower-case hexadecimal without leading zeros; `BigInt('0x' + serialHex)` is its number. */
  readonly serialHex: string;
  /** The subject's Name, DER. */
  readonly subjectRaw: Uint8Array;
  /** The issuer's Name, DER. */
  readonly issuerRaw: Uint8Array;
  readonly subject: readonly NameAttribute[];
  readonly subjectCommonName: string | undefined;
  readonly notBeforeMs: number;
  /** The last moment of validity; a certificate is still valid at it. */
  readonly notAfterMs: number;
  /** Read on first use. @throws IdentityError `invalid_argument` for a key that is too weak, too large or of unknown kind */
  readonly publicKeyInfo: PublicKeyInfo;
  /** The SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  /** The public key; imported on the first call, then kept. */
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
  readonly nameConstraints: NameConstraints | undefined;
  /** All extensions, by dotted object identifier. */
  readonly extensions: Extensions;
  /** Dotted object identifiers of the critical extensions that this reader does not process. */
  readonly unknownCriticalExtensions: readonly string[];
  /** Such as `ecdsa-with-SHA256` or `rsassa-pss-sha256`; a dotted object identifier when it is none that is verified. */
  readonly signatureAlgorithm: string;
}

const PROCESSED: ReadonlySet<string> = new Set(Object.values(EXTENSION));
const MAX_CERTIFICATE_BYTES = 65_536;

/**
 * Reads one DER certificate.
 *
 * @throws IdentityError `invalid_argument`, naming `field`
 * @example
 * const leaf = parseCertificate(chain[0]);
 * leaf.uriSans; // ['spiffe://example.org/payments/web']
 */
export function parseCertificate(der: Uint8Array, field = 'certificate'): Certificate {
  if (der.length > MAX_CERTIFICATE_BYTES) {
    throw new IdentityError('invalid_argument', `is larger than ${MAX_CERTIFICATE_BYTES} bytes`, { field });
  }
  const outer = new DerReader(der, field);
  const certificate = outer.enter(TAG.sequence);
  outer.finish();
  const signedPart = certificate.readRaw(TAG.sequence);
  const algorithm = certificate.readRaw(TAG.sequence);
  const signature = certificate.readBitStringBytes();
  certificate.finish();
  return new ParsedCertificate(parseTbs(signedPart, field, algorithm), { raw: der, signedPart, signature });
}

/** Reads a TBSCertificate, as it stands before it is signed. @throws IdentityError `invalid_argument`, naming `field` */
export function parseTbsCertificate(der: Uint8Array, field = 'certificate'): TbsCertificate {
  return new ParsedTbs(parseTbs(der, field));
}

/** Reads the certificates of a PEM text, in order. @throws IdentityError `invalid_argument`, also when there is none */
export function parsePemCertificates(pem: string, field = 'certificates'): readonly Certificate[] {
  return decodePem(pem, 'CERTIFICATE', field).map((der, index) => parseCertificate(der, `${field}[${index}]`));
}

interface TbsParts {
  readonly field: string;
  readonly serial: Uint8Array;
  readonly signatureAlgorithm: string;
  readonly issuerRaw: Uint8Array;
  readonly subjectRaw: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly spki: Uint8Array;
  readonly extensions: Extensions;
}

function parseTbs(der: Uint8Array, field: string, outerAlgorithm?: Uint8Array): TbsParts {
  const outer = new DerReader(der, field);
  const tbs = outer.enter(TAG.sequence);
  outer.finish();
  const version = readVersion(tbs);
  const serial = tbs.readUnsigned();
  if (serial.length > 20) throw tbs.fault('serial number is longer than 20 bytes');
  const algorithm = tbs.readRaw(TAG.sequence);
  if (outerAlgorithm !== undefined && Buffer.compare(algorithm, outerAlgorithm) !== 0) {
    throw tbs.fault('the two signature algorithms differ');
  }
  const issuerRaw = tbs.readRaw(TAG.sequence);
  const validity = tbs.enter(TAG.sequence);
  const [notBeforeMs, notAfterMs] = [validity.readTime(), validity.readTime()];
  validity.finish();
  const subjectRaw = tbs.readRaw(TAG.sequence);
  const spki = tbs.readRaw(TAG.sequence);
  // issuerUniqueID and subjectUniqueID of X.509 version 2: allowed, without use.
  if (version >= 1 && tbs.peekTag() === contextTag(1)) tbs.readBitString(contextTag(1));
  if (version >= 1 && tbs.peekTag() === contextTag(2)) tbs.readBitString(contextTag(2));
  const list = version === 2 ? tbs.enterOptional(contextConstructedTag(3)) : undefined;
  const extensions: Extensions = list === undefined ? new Map() : readExtensions(list.enter(TAG.sequence));
  list?.finish();
  tbs.finish();
  const signatureAlgorithm = parseSignatureAlgorithm(algorithm, field);
  return { field, serial, signatureAlgorithm, issuerRaw, subjectRaw, notBeforeMs, notAfterMs, spki, extensions };
}

/** 0 for X.509 version 1, 2 for version 3. */
function readVersion(tbs: DerReader): number {
  const explicit = tbs.enterOptional(contextConstructedTag(0));
  if (explicit === undefined) return 0;
  const version = explicit.readSmallInteger();
  explicit.finish();
  if (version !== 1 && version !== 2) throw tbs.fault('is of an unknown X.509 version');
  return version;
}

class ParsedTbs implements TbsCertificate {
  readonly serialHex: string;
  readonly subjectRaw: Uint8Array;
  readonly issuerRaw: Uint8Array;
  readonly subject: readonly NameAttribute[];
  readonly subjectCommonName: string | undefined;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly spki: Uint8Array;
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly isCa: boolean;
  readonly pathLength: number | undefined;
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly subjectKeyId: Uint8Array | undefined;
  readonly authorityKeyId: Uint8Array | undefined;
  readonly nameConstraints: NameConstraints | undefined;
  readonly extensions: Extensions;
  readonly unknownCriticalExtensions: readonly string[];
  readonly signatureAlgorithm: string;
  readonly #field: string;
  #publicKeyInfo: PublicKeyInfo | undefined;

  constructor(parts: TbsParts) {
    const { field, extensions } = parts;
    const read = <T>(oid: string, parse: (value: Uint8Array, field: string) => T): T | undefined => {
      const extension = extensions.get(oid);
      return extension === undefined ? undefined : parse(extension.value, field);
    };
    this.#field = field;
    this.serialHex = Buffer.from(parts.serial)
      .toString('hex')
      .replace(/^0+(?=.)/, '');
    this.subjectRaw = parts.subjectRaw;
    this.issuerRaw = parts.issuerRaw;
    this.subject = parseName(parts.subjectRaw, field);
    this.subjectCommonName = commonNameOf(this.subject);
    parseName(parts.issuerRaw, field);
    this.notBeforeMs = parts.notBeforeMs;
    this.notAfterMs = parts.notAfterMs;
    this.spki = parts.spki;
    const names = read(EXTENSION.subjectAltName, parseSubjectAltName);
    this.uriSans = names?.uris ?? [];
    this.dnsSans = names?.dnsNames ?? [];
    const constraints = read(EXTENSION.basicConstraints, parseBasicConstraints);
    this.isCa = constraints?.isCa ?? false;
    this.pathLength = constraints?.pathLength;
    this.keyUsage = read(EXTENSION.keyUsage, parseKeyUsage);
    this.extendedKeyUsage = read(EXTENSION.extendedKeyUsage, parseExtendedKeyUsage);
    this.subjectKeyId = read(EXTENSION.subjectKeyId, parseSubjectKeyId);
    this.authorityKeyId = read(EXTENSION.authorityKeyId, parseAuthorityKeyId);
    this.nameConstraints = read(EXTENSION.nameConstraints, parseNameConstraints);
    this.extensions = extensions;
    this.unknownCriticalExtensions = [...extensions]
      .filter(([oid, { critical }]) => critical && !PROCESSED.has(oid))
      .map(([oid]) => oid);
    this.signatureAlgorithm = parts.signatureAlgorithm;
  }

  get publicKeyInfo(): PublicKeyInfo {
    this.#publicKeyInfo ??= parsePublicKey(this.spki, this.#field);
    return this.#publicKeyInfo;
  }

  publicKey(): KeyObject {
    return this.publicKeyInfo.keyObject();
  }
}

class ParsedCertificate extends ParsedTbs implements Certificate {
  readonly raw: Uint8Array;
  readonly signedPart: Uint8Array;
  readonly signature: Uint8Array;

  constructor(
    parts: TbsParts,
    whole: { readonly raw: Uint8Array; readonly signedPart: Uint8Array; readonly signature: Uint8Array },
  ) {
    super(parts);
    this.raw = whole.raw;
    this.signedPart = whole.signedPart;
    this.signature = whole.signature;
  }
}
