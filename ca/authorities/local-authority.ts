import type { Authority, AuthorityKind } from '../model.ts';
import type { AuthorityState, AuthorityStatus } from './authority.ts';

/** An authority of this replica, as its state file keeps it. Immutable: a change makes another value. */
export interface LocalAuthority {
  readonly kind: AuthorityKind;
  /** Subject key identifier in hexadecimal, or `kid`. */
  readonly id: string;
  readonly status: AuthorityStatus;
  /** Name of its key in the key store. */
  readonly keyId: string;
  /** x509: the certificate, then what leads to the upstream root. Tokens: none. */
  readonly certificates: readonly Uint8Array[];
  /** What goes into the bundle: one's own certificate or key, or under an upstream the roots. */
  readonly published: readonly PublishedPart[];
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** Since when the bundle has it as it is; undefined while it has yet to be published (again). */
  readonly publishedAtMs: number | undefined;
  readonly tainted: boolean;
  /** To be taken out of the bundle, then forgotten. */
  readonly revoked: boolean;
  /** In lower-case hexadecimal; empty when self-signed and for tokens. */
  readonly upstreamSubjectKeyId: string;
}

/** One part of the bundle that an authority needs there. */
export interface PublishedPart {
  readonly id: string;
  readonly publicBytes: Uint8Array;
  readonly expiresAtMs: number;
}

/** As `localauthority.v1` shows it. */
export function stateOf(authority: LocalAuthority): AuthorityState {
  return {
    authorityId: authority.id,
    expiresAtSeconds: Math.floor(authority.expiresAtMs / 1000),
    upstreamSubjectKeyId: authority.upstreamSubjectKeyId,
    tainted: authority.tainted,
  };
}

/** As the bundle has it. An upstream root belongs to no replica: all of them publish the same. */
export function bundlePartsOf(authority: LocalAuthority, replicaId: string): readonly Authority[] {
  return authority.published.map(({ id, publicBytes, expiresAtMs }) => ({
    kind: authority.kind,
    id,
    publicBytes,
    expiresAtSeconds: Math.floor(expiresAtMs / 1000),
    tainted: authority.tainted,
    replicaId: isUnderUpstream(authority) ? '' : replicaId,
    upstreamSubjectKeyId: authority.upstreamSubjectKeyId,
  }));
}

/** Whether an upstream root stands above the authority. */
export function isUnderUpstream(authority: LocalAuthority): boolean {
  return authority.upstreamSubjectKeyId !== '';
}
