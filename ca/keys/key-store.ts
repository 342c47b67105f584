import type { KeyObject } from 'node:crypto';

/** The kinds of key that an authority may have (`caKeyType`, `jwtKeyType`). */
export type KeyAlgorithm = 'ec-p256' | 'ec-p384' | 'rsa-2048' | 'rsa-4096';

/** All of {@link KeyAlgorithm}, the default first. */
export const KEY_ALGORITHMS = ['ec-p256', 'ec-p384', 'rsa-2048', 'rsa-4096'] as const satisfies readonly KeyAlgorithm[];

/** How an ECDSA signature is written: DER as in certificates, or the two numbers side by side as in tokens. RSA ignores it. */
export type SignatureEncoding = 'der' | 'ieee-p1363';

/** A private key that signs and never shows itself; it may live in this process, in hardware or in a cloud. */
export interface SigningKey {
  readonly id: string;
  readonly algorithm: KeyAlgorithm;
  readonly publicKey: KeyObject;
  /** The SubjectPublicKeyInfo, DER. */
  readonly publicKeySpki: Uint8Array;
  /**
   * Signs data with the key's own algorithm: ECDSA with SHA-256 (P-256) or SHA-384 (P-384), RSASSA-PKCS1-v1_5 with SHA-256.
   *
   * @throws IdentityError `unavailable` when the key cannot be reached
   */
  sign(data: Uint8Array, encoding: SignatureEncoding): Uint8Array | Promise<Uint8Array>;
  /** The private key where this process holds it. Only then can worker threads sign with it. */
  readonly keyObject?: KeyObject;
}

/**
 * Where private keys live. Adapters: memory and disk here; hardware and cloud keys implement the same port.
 * Key IDs are chosen by the caller from letters, digits, dots and dashes.
 */
export interface KeyStore {
  /** Whether keys are still there after a restart. */
  readonly persistent: boolean;
  /** Makes a key and keeps it before it returns. @throws IdentityError `already_exists`, `unavailable` */
  create(id: string, algorithm: KeyAlgorithm): Promise<SigningKey>;
  /** The key of that ID; undefined when there is none. @throws IdentityError `failed_precondition` when it is there but must not be used */
  load(id: string): Promise<SigningKey | undefined>;
  /** Forgets a key; a key that is not there is no error. */
  delete(id: string): Promise<void>;
  /** The IDs of all keys. */
  list(): Promise<readonly string[]>;
}
