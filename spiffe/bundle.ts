import type { KeyObject } from 'node:crypto';
import { parseCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { notYet } from './not-yet.ts';
import type { TrustDomain } from './trust-domain.ts';

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
    return (this.#publicKey ??= notYet());
  }
}

/** A WIT authority has the same parts as a JWT authority. */
export type WitAuthority = JwtAuthority;

/** What a {@link Bundle} is made of. */
export interface BundleContent {
  readonly trustDomain: TrustDomain;
  readonly x509Authorities?: readonly X509Authority[];
  readonly jwtAuthorities?: Iterable<JwtAuthority>;
  readonly witAuthorities?: Iterable<WitAuthority>;
  readonly refreshHintSeconds?: number | undefined;
  readonly sequenceNumber?: bigint | undefined;
}

/** The keys that are authoritative for a trust domain (SPIFFE Trust Domain and Bundle §3). Immutable. */
export class Bundle {
  readonly trustDomain: TrustDomain;
  readonly x509Authorities: readonly X509Authority[];
  /** By `kid`. */
  readonly jwtAuthorities: ReadonlyMap<string, JwtAuthority>;
  /** By `kid`. */
  readonly witAuthorities: ReadonlyMap<string, WitAuthority>;
  readonly refreshHintSeconds: number | undefined;
  readonly sequenceNumber: bigint | undefined;

  constructor(content: BundleContent) {
    this.trustDomain = content.trustDomain;
    this.x509Authorities = [...(content.x509Authorities ?? [])];
    this.jwtAuthorities = new Map([...(content.jwtAuthorities ?? [])].map((authority) => [authority.keyId, authority]));
    this.witAuthorities = new Map([...(content.witAuthorities ?? [])].map((authority) => [authority.keyId, authority]));
    this.refreshHintSeconds = content.refreshHintSeconds;
    this.sequenceNumber = content.sequenceNumber;
  }
}

/** Where verification finds the bundle of a trust domain; undefined when that domain is not trusted. */
export interface BundleSource {
  bundleOf(trustDomain: TrustDomain): Bundle | undefined;
}

/** Reads a SPIFFE bundle document (a JWK set). @throws IdentityError `invalid_argument` */
export function parseBundleDocument(json: Uint8Array | string, trustDomain: TrustDomain): Bundle {
  return notYet(json, trustDomain);
}

/** Which parts {@link formatBundleDocument} writes. */
export interface BundleDocumentOptions {
  /** The SVID types whose keys are written; all unless given. */
  readonly include?: readonly ('x509' | 'jwt' | 'wit')[];
  /** Leaves out `use`, `spiffe_sequence` and `spiffe_refresh_hint`: a plain JWK set, as the Workload API's JWT bundles and OIDC want it. */
  readonly standardJwks?: boolean;
}

/** Writes a SPIFFE bundle document. */
export function formatBundleDocument(bundle: Bundle, options: BundleDocumentOptions = {}): string {
  return notYet(bundle, options);
}
