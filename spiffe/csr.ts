import { IdentityError } from '../core/errors.ts';
import { DerReader, TAG, contextConstructedTag } from './der.ts';
import { parseName } from './distinguished-name.ts';
import { EXTENSION, parseSubjectAltName, readExtensions } from './extensions.ts';
import type { SubjectAltName } from './extensions.ts';
import { parsePublicKey } from './public-key.ts';
import type { PublicKeyInfo } from './public-key.ts';
import { isSignatureValid, parseSignatureAlgorithm } from './signature-algorithm.ts';
import { parseSpiffeId } from './spiffe-id.ts';
import type { SpiffeId } from './spiffe-id.ts';

/** Largest CSR that is read, in bytes: enough for an RSA key of 8,192 bits and a hundred long DNS names. */
export const MAX_CSR_BYTES = 32_768;

const EXTENSION_REQUEST = '1.2.840.113549.1.9.14';
const EMPTY_NAMES: SubjectAltName = { uris: [], dnsNames: [] };

/** A PKCS#10 certificate signing request (RFC 2986), read strictly. */
export interface Csr {
  readonly raw: Uint8Array;
  /** The subject's Name, DER; `30 00` when empty. */
  readonly subjectRaw: Uint8Array;
  readonly publicKeyInfo: PublicKeyInfo;
  /** The SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  /** As `parseSignatureAlgorithm` names it. */
  readonly signatureAlgorithm: string;
  readonly signedPart: Uint8Array;
  readonly signature: Uint8Array;
}

/**
 * Reads a CSR. The signature is not verified: see {@link verifyCsr}. Requested extensions other than the subject alternative
 * name are passed over, as in SPIRE: the CA's profile decides them.
 *
 * @throws IdentityError `invalid_argument`, naming `field`; also for keys that are too weak or too large, before any arithmetic
 */
export function parseCsr(der: Uint8Array, field = 'csr'): Csr {
  if (der.length === 0) throw new IdentityError('invalid_argument', 'missing CSR', { field });
  if (der.length > MAX_CSR_BYTES) {
    throw new IdentityError('invalid_argument', `CSR is larger than ${MAX_CSR_BYTES} bytes`, { field });
  }
  const outer = new DerReader(der, field);
  const request = outer.enter(TAG.sequence);
  outer.finish();
  const signedPart = request.readRaw(TAG.sequence);
  const algorithm = request.readRaw(TAG.sequence);
  const signature = request.readBitStringBytes();
  request.finish();
  const info = new DerReader(signedPart, field).enter(TAG.sequence);
  if (info.readSmallInteger() !== 0) throw info.fault('CSR is of an unknown version');
  const subjectRaw = info.readRaw(TAG.sequence);
  parseName(subjectRaw, field);
  const spki = info.readRaw(TAG.sequence);
  const names = readAttributes(info);
  info.finish();
  return {
    raw: der,
    subjectRaw,
    publicKeyInfo: parsePublicKey(spki, `${field}.public_key`),
    spki,
    uriSans: names.uris,
    dnsSans: names.dnsNames,
    signatureAlgorithm: parseSignatureAlgorithm(algorithm, field),
    signedPart,
    signature,
  };
}

/** The names in the extension request (RFC 2985 §5.4.2), if there is one; other attributes are passed over. */
function readAttributes(info: DerReader): SubjectAltName {
  const attributes = info.enterOptional(contextConstructedTag(0));
  if (attributes === undefined) return EMPTY_NAMES;
  let names: SubjectAltName | undefined;
  while (!attributes.atEnd) {
    const attribute = attributes.enter(TAG.sequence);
    const oid = attribute.readOid();
    const values = attribute.enter(TAG.set);
    attribute.finish();
    if (oid !== EXTENSION_REQUEST) continue;
    if (names !== undefined) throw info.fault('CSR has two extension requests');
    const extensions = readExtensions(values.enter(TAG.sequence));
    values.finish();
    const subjectAltName = extensions.get(EXTENSION.subjectAltName);
    names =
      subjectAltName === undefined ? EMPTY_NAMES : parseSubjectAltName(subjectAltName.value, `${info.field}.subject_alt_name`);
  }
  return names ?? EMPTY_NAMES;
}

/**
 * Verifies that the CSR is signed with the private part of the key that it names.
 *
 * @throws IdentityError `invalid_argument`, naming `field`; also for algorithms that are not verified, such as SHA-1
 */
export function verifyCsr(csr: Csr, field = 'csr'): void {
  const { publicKeyInfo } = csr;
  if (isSignatureValid(csr, publicKeyInfo.kind, () => publicKeyInfo.keyObject())) return;
  throw new IdentityError('invalid_argument', 'CSR signature is not valid: it must be made with the key that the CSR names', {
    field,
  });
}

/**
 * The one SPIFFE ID of a CSR.
 *
 * @throws IdentityError `invalid_argument` when there is no URI SAN, more than one, or one that is no SPIFFE ID
 */
export function spiffeIdOfCsr(csr: Csr, field = 'csr'): SpiffeId {
  const [uri, ...more] = csr.uriSans;
  if (uri === undefined) throw new IdentityError('invalid_argument', 'CSR URI SAN is required', { field });
  if (more.length > 0) throw new IdentityError('invalid_argument', 'only one URI SAN is expected', { field });
  return parseSpiffeId(uri, `${field}.uri_san`);
}
