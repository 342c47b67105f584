import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/** A key pair of a test. */
export interface TestKey {
  readonly kind: TestKeyKind;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** The SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
}

/** The kinds of key that tests make; some of them are not accepted by Countersign on purpose. */
export type TestKeyKind =
  | 'P-256'
  | 'P-384'
  | 'P-521'
  | 'P-224'
  | 'secp256k1'
  | 'RSA-1024'
  | 'RSA-2048'
  | 'RSA-3072'
  | 'RSA-4096'
  | 'Ed25519';

const slow = new Map<TestKeyKind, TestKey>();

/** Makes a key pair; RSA keys, slow to make, are made once for each kind unless `fresh`. */
export function createTestKey(kind: TestKeyKind = 'P-256', options: { readonly fresh?: boolean } = {}): TestKey {
  const kept = options.fresh ? undefined : slow.get(kind);
  if (kept !== undefined) return kept;
  const { privateKey, publicKey } = generate(kind);
  const key = { kind, privateKey, publicKey, spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })) };
  if (kind.startsWith('RSA')) slow.set(kind, key);
  return key;
}

function generate(kind: TestKeyKind): { privateKey: KeyObject; publicKey: KeyObject } {
  if (kind === 'Ed25519') return generateKeyPairSync('ed25519');
  if (kind.startsWith('RSA-')) return generateKeyPairSync('rsa', { modulusLength: Number(kind.slice(4)) });
  return generateKeyPairSync('ec', { namedCurve: kind });
}
