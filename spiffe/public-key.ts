import { createHash, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { IdentityError } from '../core/errors.ts';
import { DerReader, TAG } from './der.ts';

/** The kinds of public key that Countersign accepts in certificates, CSRs and bundles. */
export type KeyKind = 'ec-p256' | 'ec-p384' | 'ec-p521' | 'rsa' | 'ed25519';

const PEM_BEGIN = '-----BEGIN PUBLIC KEY-----\n';
const PEM_END = '\n-----END PUBLIC KEY-----\n';

const EC_OID = '1.2.840.10045.2.1';
const RSA_OID = '1.2.840.113549.1.1.1';
const ED25519_OID = '1.3.101.112';

interface Curve {
  readonly kind: KeyKind;
  readonly bits: number;
}
const CURVES: ReadonlyMap<string, Curve> = new Map<string, Curve>([
  ['1.2.840.10045.3.1.7', { kind: 'ec-p256', bits: 256 }],
  ['1.3.132.0.34', { kind: 'ec-p384', bits: 384 }],
  ['1.3.132.0.35', { kind: 'ec-p521', bits: 521 }],
]);

const MIN_RSA_BITS = 2048;
/** A verification costs the square of the modulus: a larger key would let a caller spend the CA's time. */
const MAX_RSA_BITS = 8192;

/** A public key as it stands in a certificate or CSR. */
export interface PublicKeyInfo {
  /** The SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly kind: KeyKind;
  /** Size of the RSA modulus or of the curve's field, in bits. */
  readonly bits: number;
  /** The key itself; imported on the first call, then kept. @throws IdentityError `invalid_argument` when it is no point of its curve */
  keyObject(): KeyObject;
}

/**
 * Reads a SubjectPublicKeyInfo. RSA below 2,048 or above 8,192 bits, unknown curves and algorithms are refused before any
 * arithmetic.
 *
 * @throws IdentityError `invalid_argument`, naming `field`
 */
export function parsePublicKey(spki: Uint8Array, field = 'public_key'): PublicKeyInfo {
  const outer = new DerReader(spki, field);
  const info = outer.enter(TAG.sequence);
  outer.finish();
  const algorithm = info.enter(TAG.sequence);
  const bits = info.readBitStringBytes();
  info.finish();
  const oid = algorithm.readOid();
  if (oid === EC_OID) return parseEc(spki, algorithm, bits);
  if (oid === RSA_OID) return parseRsa(spki, algorithm, bits);
  if (oid !== ED25519_OID) throw algorithm.fault('public key is neither RSA, ECDSA nor Ed25519');
  algorithm.finish();
  if (bits.length !== 32) throw algorithm.fault('Ed25519 public key is not of 32 bytes');
  return new ImportedKey({ spki, kind: 'ed25519', bits: 256, field });
}

function parseEc(spki: Uint8Array, algorithm: DerReader, point: Uint8Array): PublicKeyInfo {
  const curve = CURVES.get(algorithm.readOid());
  algorithm.finish();
  if (curve === undefined) throw algorithm.fault('elliptic curve is none of P-256, P-384 and P-521');
  const coordinateBytes = Math.ceil(curve.bits / 8);
  if (point[0] !== 4 || point.length !== 1 + 2 * coordinateBytes) throw algorithm.fault('public key is no uncompressed point');
  return new ImportedKey({ spki, kind: curve.kind, bits: curve.bits, field: algorithm.field });
}

function parseRsa(spki: Uint8Array, algorithm: DerReader, content: Uint8Array): PublicKeyInfo {
  algorithm.readNull();
  algorithm.finish();
  const outer = new DerReader(content, algorithm.field);
  const key = outer.enter(TAG.sequence);
  outer.finish();
  const modulus = key.readUnsigned();
  const exponent = key.readUnsigned();
  key.finish();
  const bits = (modulus.length - 1) * 8 + 32 - Math.clz32(modulus[0] ?? 0);
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) {
    throw algorithm.fault(`RSA key is of ${bits} bits; it must be of ${MIN_RSA_BITS} to ${MAX_RSA_BITS}`);
  }
  const isOdd = ((exponent.at(-1) ?? 0) & 1) === 1;
  const isOne = exponent.length === 1 && exponent[0] === 1;
  if (exponent.length > 4 || !isOdd || isOne) throw algorithm.fault('RSA public exponent must be odd, above 1 and below 2^32');
  return new ImportedKey({ spki, kind: 'rsa', bits, field: algorithm.field });
}

interface ImportedKeyInit {
  readonly spki: Uint8Array;
  readonly kind: KeyKind;
  readonly bits: number;
  readonly field: string;
}

class ImportedKey implements PublicKeyInfo {
  readonly #init: ImportedKeyInit;
  #keyObject: KeyObject | undefined;

  constructor(init: ImportedKeyInit) {
    this.#init = init;
  }

  get spki(): Uint8Array {
    return this.#init.spki;
  }

  get kind(): KeyKind {
    return this.#init.kind;
  }

  get bits(): number {
    return this.#init.bits;
  }

  keyObject(): KeyObject {
    this.#keyObject ??= importKey(this.#init);
    return this.#keyObject;
  }
}

function importKey({ spki, kind, field }: ImportedKeyInit): KeyObject {
  try {
    // node:crypto looks at an object four times, each time by catching an exception: as text the import takes a third of the time.
    if (kind.startsWith('ec-')) return createPublicKey(`${PEM_BEGIN}${asBuffer(spki).toString('base64')}${PEM_END}`);
    return createPublicKey({ key: asBuffer(spki), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new IdentityError('invalid_argument', 'public key is no valid key', { field, cause });
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * SHA-1 of the key's bits (RFC 5280 §4.2.1.2, method 1): what SPIRE writes as subject key identifier and names an authority by.
 *
 * @param spki the SubjectPublicKeyInfo, DER
 */
export function subjectKeyIdOf(spki: Uint8Array): Uint8Array {
  const info = new DerReader(spki, 'public_key').enter(TAG.sequence);
  info.readRaw(TAG.sequence);
  return createHash('sha1').update(info.readBitStringBytes()).digest();
}
