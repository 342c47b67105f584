import { DerReader, TAG, contextConstructedTag, contextTag } from './der.ts';

/** Object identifiers of the certificate extensions that are processed. */
export const EXTENSION = {
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const;

/** Purposes of the extended key usage extension (RFC 5280 §4.2.1.12). */
export const KEY_PURPOSE = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const;

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

/** In the order of their bits. */
export const KEY_USAGES: readonly KeyUsage[] = [
  'digitalSignature',
  'contentCommitment',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
];

/** One extension. */
export interface Extension {
  readonly critical: boolean;
  /** What the OCTET STRING holds. */
  readonly value: Uint8Array;
}

/** Extensions by object identifier. */
export type Extensions = ReadonlyMap<string, Extension>;

/** Reads `Extensions`; two of one kind are refused (RFC 5280 §4.2). */
export function readExtensions(list: DerReader): Extensions {
  const extensions = new Map<string, Extension>();
  if (list.atEnd) throw list.fault('list of extensions is empty');
  while (!list.atEnd) {
    const extension = list.enter(TAG.sequence);
    const oid = extension.readOid();
    // DER leaves a default FALSE out; some CAs write it nevertheless, and Go and OpenSSL read it.
    const critical = extension.peekTag() === TAG.boolean && extension.readBoolean();
    const value = extension.readContent(TAG.octetString);
    extension.finish();
    if (extensions.has(oid)) throw extension.fault(`extension ${oid} occurs twice`);
    extensions.set(oid, { critical, value });
  }
  return extensions;
}

/** The names of a subject alternative name extension that matter here. */
export interface SubjectAltName {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
}

const GENERAL_NAME = { dns: contextTag(2), uri: contextTag(6) } as const;

/** Reads a SubjectAltName (RFC 5280 §4.2.1.6): names of other kinds are passed over. */
export function parseSubjectAltName(value: Uint8Array, field: string): SubjectAltName {
  const names = enterSequence(value, field);
  if (names.atEnd) throw names.fault('subject alternative name is empty');
  const uris: string[] = [];
  const dnsNames: string[] = [];
  while (!names.atEnd) {
    const tag = names.peekTag();
    if (tag === GENERAL_NAME.uri) uris.push(names.readIa5String(tag));
    else if (tag === GENERAL_NAME.dns) dnsNames.push(names.readIa5String(tag));
    else {
      // All nine kinds of GeneralName are context-specific.
      if (tag === undefined || (tag & 0xc0) !== 0x80 || (tag & 0x1f) > 8) throw names.fault('unknown kind of alternative name');
      names.readRaw();
    }
  }
  return { uris, dnsNames };
}

/** Reads BasicConstraints (RFC 5280 §4.2.1.9). */
export function parseBasicConstraints(value: Uint8Array, field: string): { isCa: boolean; pathLength: number | undefined } {
  const constraints = enterSequence(value, field);
  const isCa = constraints.peekTag() === TAG.boolean && constraints.readBoolean();
  const pathLength = constraints.atEnd ? undefined : constraints.readSmallInteger();
  constraints.finish();
  if (pathLength !== undefined && !isCa) throw constraints.fault('path length without CA flag');
  return { isCa, pathLength };
}

/** Reads KeyUsage (RFC 5280 §4.2.1.3). */
export function parseKeyUsage(value: Uint8Array, field: string): ReadonlySet<KeyUsage> {
  const reader = new DerReader(value, field);
  const { bytes } = reader.readBitString();
  reader.finish();
  return new Set(KEY_USAGES.filter((_, bit) => ((bytes[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0));
}

/** Reads ExtKeyUsage (RFC 5280 §4.2.1.12): dotted object identifiers. */
export function parseExtendedKeyUsage(value: Uint8Array, field: string): readonly string[] {
  const list = enterSequence(value, field);
  const purposes: string[] = [];
  if (list.atEnd) throw list.fault('extended key usage is empty');
  while (!list.atEnd) purposes.push(list.readOid());
  return purposes;
}

/** Reads SubjectKeyIdentifier (RFC 5280 §4.2.1.2). */
export function parseSubjectKeyId(value: Uint8Array, field: string): Uint8Array {
  const reader = new DerReader(value, field);
  const keyId = reader.readContent(TAG.octetString);
  reader.finish();
  return keyId;
}

/** Reads the key identifier of AuthorityKeyIdentifier (RFC 5280 §4.2.1.1); undefined when it names its authority otherwise. */
export function parseAuthorityKeyId(value: Uint8Array, field: string): Uint8Array | undefined {
  const parts = enterSequence(value, field);
  return parts.peekTag() === contextTag(0) ? parts.readContent(contextTag(0)) : undefined;
}

/** What NameConstraints says of URIs and DNS names (RFC 5280 §4.2.1.10). */
export interface NameConstraints {
  readonly permitted: SubjectAltName;
  readonly excluded: SubjectAltName;
  /** Whether it constrains names of kinds that are not processed here. */
  readonly hasOtherKinds: boolean;
}

/** Reads NameConstraints. */
export function parseNameConstraints(value: Uint8Array, field: string): NameConstraints {
  const constraints = enterSequence(value, field);
  const permitted = readSubtrees(constraints.enterOptional(contextConstructedTag(0)));
  const excluded = readSubtrees(constraints.enterOptional(contextConstructedTag(1)));
  constraints.finish();
  return { permitted, excluded, hasOtherKinds: permitted.hasOtherKinds || excluded.hasOtherKinds };
}

function readSubtrees(subtrees: DerReader | undefined): SubjectAltName & { readonly hasOtherKinds: boolean } {
  const uris: string[] = [];
  const dnsNames: string[] = [];
  let hasOtherKinds = false;
  if (subtrees === undefined) return { uris, dnsNames, hasOtherKinds };
  while (!subtrees.atEnd) {
    const subtree = subtrees.enter(TAG.sequence);
    const tag = subtree.peekTag();
    if (tag === GENERAL_NAME.uri) uris.push(subtree.readIa5String(tag));
    else if (tag === GENERAL_NAME.dns) dnsNames.push(subtree.readIa5String(tag));
    else {
      hasOtherKinds = true;
      subtree.readRaw();
    }
    // RFC 5280: minimum is always zero (so never written) and maximum absent.
    subtree.finish();
  }
  return { uris, dnsNames, hasOtherKinds };
}

function enterSequence(value: Uint8Array, field: string): DerReader {
  const outer = new DerReader(value, field);
  const inner = outer.enter(TAG.sequence);
  outer.finish();
  return inner;
}
