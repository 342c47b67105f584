import { constants, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { DerReader, TAG, contextConstructedTag } from './der.ts';
import { derNull, derOid, derSequence } from './der-writer.ts';
import type { KeyKind } from './public-key.ts';

/** The algorithms that an X.509 authority signs with. */
export type CertificateSignatureAlgorithm =
  | 'ecdsa-with-SHA256'
  | 'ecdsa-with-SHA384'
  | 'ecdsa-with-SHA512'
  | 'sha256WithRSAEncryption'
  | 'sha384WithRSAEncryption'
  | 'sha512WithRSAEncryption'
  | 'ed25519';

type Hash = 'sha256' | 'sha384' | 'sha512';

interface Scheme {
  readonly hash: Hash | null;
  readonly key: 'ec' | 'rsa' | 'ed25519';
  readonly isPss?: boolean;
}

// SHA-1 and MD5 are left out on purpose: what they sign is not verified.
const OIDS: Readonly<Record<CertificateSignatureAlgorithm, string>> = {
  'ecdsa-with-SHA256': '1.2.840.10045.4.3.2',
  'ecdsa-with-SHA384': '1.2.840.10045.4.3.3',
  'ecdsa-with-SHA512': '1.2.840.10045.4.3.4',
  sha256WithRSAEncryption: '1.2.840.113549.1.1.11',
  sha384WithRSAEncryption: '1.2.840.113549.1.1.12',
  sha512WithRSAEncryption: '1.2.840.113549.1.1.13',
  ed25519: '1.3.101.112',
};
const PSS_OID = '1.2.840.113549.1.1.10';
const MGF1_OID = '1.2.840.113549.1.1.8';

const NAMES = new Map(Object.entries(OIDS).map(([name, oid]) => [oid, name]));
const HASH_BY_OID: ReadonlyMap<string, Hash> = new Map([
  ['2.16.840.1.101.3.4.2.1', 'sha256'],
  ['2.16.840.1.101.3.4.2.2', 'sha384'],
  ['2.16.840.1.101.3.4.2.3', 'sha512'],
]);
const HASH_BYTES: Readonly<Record<Hash, number>> = { sha256: 32, sha384: 48, sha512: 64 };

const SCHEMES: ReadonlyMap<string, Scheme> = new Map<string, Scheme>([
  ['ecdsa-with-SHA256', { hash: 'sha256', key: 'ec' }],
  ['ecdsa-with-SHA384', { hash: 'sha384', key: 'ec' }],
  ['ecdsa-with-SHA512', { hash: 'sha512', key: 'ec' }],
  ['sha256WithRSAEncryption', { hash: 'sha256', key: 'rsa' }],
  ['sha384WithRSAEncryption', { hash: 'sha384', key: 'rsa' }],
  ['sha512WithRSAEncryption', { hash: 'sha512', key: 'rsa' }],
  ['rsassa-pss-sha256', { hash: 'sha256', key: 'rsa', isPss: true }],
  ['rsassa-pss-sha384', { hash: 'sha384', key: 'rsa', isPss: true }],
  ['rsassa-pss-sha512', { hash: 'sha512', key: 'rsa', isPss: true }],
  ['ed25519', { hash: null, key: 'ed25519' }],
]);

/**
 * The name of an AlgorithmIdentifier, such as `ecdsa-with-SHA256` or `rsassa-pss-sha256`; the dotted identifier when it is none
 * that Countersign verifies.
 *
 * @param raw the AlgorithmIdentifier, DER
 * @throws IdentityError `invalid_argument` when a known algorithm has parameters that it must not have (RFC 4055, 5758, 8410)
 */
export function parseSignatureAlgorithm(raw: Uint8Array, field: string): string {
  const reader = new DerReader(raw, field).enter(TAG.sequence);
  const oid = reader.readOid();
  if (oid === PSS_OID) return parsePss(reader);
  const name = NAMES.get(oid);
  if (name === undefined) return oid;
  // RFC 5758 and 8410 want no parameters; RFC 4055 wants NULL for RSA, and lets readers take its absence.
  if (SCHEMES.get(name)?.key === 'rsa' && !reader.atEnd) reader.readNull();
  reader.finish();
  return name;
}

function parsePss(reader: DerReader): string {
  const parameters = reader.enterOptional(TAG.sequence);
  const [hashPart, maskPart, saltPart] = [0, 1, 2].map((part) => parameters?.enterOptional(contextConstructedTag(part)));
  const mask = maskPart?.enter(TAG.sequence);
  const isMgf1 = mask?.readOid() === MGF1_OID;
  const [hash, maskHash] = [readHash(hashPart), readHash(mask)];
  // RFC 4055 §3.1: the same hash in both places, and the salt as long as the hash; nothing else is in use, the defaults are SHA-1.
  if (hash === undefined || !isMgf1 || maskHash !== hash || saltPart?.readSmallInteger() !== HASH_BYTES[hash]) return PSS_OID;
  parameters?.finish();
  return `rsassa-pss-${hash}`;
}

function readHash(reader: DerReader | undefined): Hash | undefined {
  const identifier = reader?.enterOptional(TAG.sequence);
  if (identifier === undefined) return undefined;
  const hash = HASH_BY_OID.get(identifier.readOid());
  if (!identifier.atEnd) identifier.readNull();
  identifier.finish();
  return hash;
}

const ENCODED = new Map<string, Uint8Array>();

/** The AlgorithmIdentifier of an algorithm, DER. */
export function encodeSignatureAlgorithm(name: CertificateSignatureAlgorithm): Uint8Array {
  let encoded = ENCODED.get(name);
  if (encoded === undefined) {
    const oid = derOid(OIDS[name]);
    encoded = SCHEMES.get(name)?.key === 'rsa' ? derSequence(oid, derNull) : derSequence(oid);
    ENCODED.set(name, encoded);
  }
  return encoded;
}

/** What {@link isSignatureValid} looks at. */
export interface SignedData {
  /** As {@link parseSignatureAlgorithm} names it. */
  readonly signatureAlgorithm: string;
  readonly signedPart: Uint8Array;
  /** For ECDSA the DER form. */
  readonly signature: Uint8Array;
}

/** Whether the signature is of this key; false also for an algorithm that is unknown or does not fit the key. */
export function isSignatureValid(signed: SignedData, kind: KeyKind, key: () => KeyObject): boolean {
  const scheme = SCHEMES.get(signed.signatureAlgorithm);
  if (scheme === undefined || !kind.startsWith(scheme.key)) return false;
  const padding = scheme.isPss ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING;
  const options = scheme.key === 'rsa' ? { key: key(), padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST } : key();
  return verify(scheme.hash, signed.signedPart, options, signed.signature);
}
