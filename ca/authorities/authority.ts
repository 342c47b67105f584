import type { SigningKey } from '../keys/key-store.ts';
import type { Authority, AuthorityKind } from '../model.ts';

/** The kinds that are in the SPIFFE bundle. */
export const BUNDLE_KINDS = ['x509', 'jwt', 'wit'] as const satisfies readonly AuthorityKind[];
/** All kinds. A `kid` is unique across all of them (WIT-SVID §6.1). */
export const AUTHORITY_KINDS = [...BUNDLE_KINDS, 'exchange'] as const satisfies readonly AuthorityKind[];
/** The kinds that sign tokens. */
export type TokenKind = Exclude<AuthorityKind, 'x509'>;

/** Where an authority of this replica is in its life: made and published, signing, or done signing but still trusted. */
export type AuthorityStatus = 'prepared' | 'active' | 'old';

/** An authority as `localauthority.v1` shows it. */
export interface AuthorityState {
  /** Subject key identifier in lower-case hexadecimal (x509) or `kid`. */
  readonly authorityId: string;
  readonly expiresAtSeconds: number;
  /** Of the upstream authority that signed this one, in lower-case hexadecimal; empty when self-signed and for tokens. */
  readonly upstreamSubjectKeyId: string;
  readonly tainted: boolean;
}

/** The authorities of one kind; `old` is the latest that signed before. */
export interface AuthorityStates {
  readonly active: AuthorityState;
  readonly prepared: AuthorityState | undefined;
  readonly old: AuthorityState | undefined;
}

/** The X.509 authority that signs now. */
export interface X509SigningAuthority {
  readonly kind: 'x509';
  /** Subject key identifier in lower-case hexadecimal. */
  readonly id: string;
  readonly key: SigningKey;
  readonly certificateDer: Uint8Array;
  /** The Name that goes into the issuer field, DER. */
  readonly subjectRaw: Uint8Array;
  readonly subjectKeyId: Uint8Array;
  /** What follows the leaf in a chain: nothing under a self-signed root, else this authority and what leads to the upstream root. */
  readonly chain: readonly Uint8Array[];
  /** How many authorities may follow below; undefined when not limited. */
  readonly pathLength: number | undefined;
  /** The earliest end of the authority and its chain: nothing it signs may outlive it. */
  readonly expiresAtMs: number;
}

/** An authority for tokens that signs now. */
export interface TokenSigningAuthority {
  readonly kind: TokenKind;
  /** The `kid`. */
  readonly id: string;
  readonly key: SigningKey;
  readonly expiresAtMs: number;
}

/** Any authority that signs now. */
export type SigningAuthority = X509SigningAuthority | TokenSigningAuthority;

/**
 * The bundle that all replicas share, as the authorities see it. `app.ts` puts it together from the store and the registry.
 */
export interface AuthorityBundle {
  /** Every published authority, of all replicas. */
  list(): readonly Authority[];
  /** Adds an authority or replaces the one of the same kind and ID; resolves when it is stored and in the registry. @throws IdentityError `unavailable` */
  publish(authority: Authority): Promise<void>;
  /** Takes an authority out; one that is not there is no error. @throws IdentityError `unavailable` */
  remove(kind: AuthorityKind, id: string): Promise<void>;
}
