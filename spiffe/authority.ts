import type { KeyObject } from 'node:crypto';
import { parseCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { parsePublicKey } from './public-key.ts';

/** An X.509 authority of a trust domain: a CA certificate. */
export class X509Authority {
  readonly der: Uint8Array;
  /** Set when the authority must no longer be used: what it signed is to be replaced. */
  readonly tainted: boolean;
  #certificate: Certificate | undefined;

  constructor(der: Uint8Array, options: { readonly tainted?: boolean } = {}) {
    this.der = der;
    this.tainted = options.tainted ?? false;
  }

  /** The certificate; parsed on first use, then kept. @throws IdentityError `invalid_argument` */
  get certificate(): Certificate {
    this.#certificate ??= parseCertificate(this.der, 'x509_authority');
    return this.#certificate;
  }
}

/** A key that signs tokens of a trust domain: a JWT authority or a WIT authority. */
export class JwtAuthority {
  /** The `kid`. */
  readonly keyId: string;
  /** The SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly expiresAtMs: number | undefined;
  readonly tainted: boolean;
  #publicKey: KeyObject | undefined;

  constructor(
    keyId: string,
    spki: Uint8Array,
    options: { readonly expiresAtMs?: number | undefined; readonly tainted?: boolean; readonly publicKey?: KeyObject } = {},
  ) {
    this.keyId = keyId;
    this.spki = spki;
    this.expiresAtMs = options.expiresAtMs;
    this.tainted = options.tainted ?? false;
    this.#publicKey = options.publicKey;
  }

  /** The key; imported on first use, then kept. @throws IdentityError `invalid_argument` */
  get publicKey(): KeyObject {
    this.#publicKey ??= parsePublicKey(this.spki, 'jwt_authority').keyObject();
    return this.#publicKey;
  }
}

/** A WIT authority has the same parts as a JWT authority. */
export type WitAuthority = JwtAuthority;
