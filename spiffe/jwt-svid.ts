import { IdentityError } from '../core/errors.ts';
import type { JwtAuthority } from './authority.ts';
import type { BundleSource } from './bundle.ts';
import { parseJws, verifyJws } from './jwt.ts';
import type { Jws } from './jwt.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { TOKEN_LEEWAY_MS, checkValidity, claimFault, keyOf, readCommonClaims } from './token-claims.ts';
import type { CommonClaims } from './token-claims.ts';

/** A JWT-SVID. */
export interface JwtSvid {
  readonly id: SpiffeId;
  readonly audience: readonly string[];
  /** All claims, as they stand in the token. */
  readonly claims: Readonly<Record<string, unknown>>;
  readonly expiresAtMs: number;
  readonly issuedAtMs: number | undefined;
  readonly keyId: string;
}

/**
 * Verifies a JWT-SVID (JWT-SVID §4) against the bundle of its own trust domain.
 *
 * @param audiences what the validator answers to; one of them must be in `aud`
 * @throws IdentityError `invalid_argument` for what cannot be read, `unauthenticated` for what is not to be trusted
 * @example
 * const { id } = verifyJwtSvid(token, ['reports'], bundles, clock.nowMs());
 */
export function verifyJwtSvid(token: string, audiences: readonly string[], bundles: BundleSource, nowMs: number): JwtSvid {
  if (audiences.length === 0) throw new IdentityError('invalid_argument', 'names no audience', { field: 'audience' });
  const { jws, svid, common } = read(token);
  const authority = bundles.bundleOf(svid.id.trustDomain)?.jwtAuthorities.get(svid.keyId);
  verifyWithAuthority(jws, svid.id, authority, nowMs);
  checkValidity(common, nowMs);
  // go-spiffe and SPIRE refuse tokens from the future, too (RFC 7519 leaves it open).
  if (common.issuedAtMs !== undefined && nowMs < common.issuedAtMs - TOKEN_LEEWAY_MS) {
    throw new IdentityError('unauthenticated', 'token is issued in the future');
  }
  if (!svid.audience.some((audience) => audiences.includes(audience))) {
    throw new IdentityError('unauthenticated', 'token is not for this audience');
  }
  return svid;
}

/**
 * Verifies the signature of a token with an authority of the trust domain.
 *
 * @throws IdentityError `unauthenticated`, also when there is no such authority or it has ended
 */
export function verifyWithAuthority(jws: Jws, id: SpiffeId, authority: JwtAuthority | undefined, nowMs: number): void {
  if (authority === undefined) {
    const message = `token is signed with a key that the bundle of "${id.trustDomain.name}" does not have`;
    throw new IdentityError('unauthenticated', message);
  }
  if (authority.expiresAtMs !== undefined && nowMs > authority.expiresAtMs + TOKEN_LEEWAY_MS) {
    throw new IdentityError('unauthenticated', 'token is signed with a key that has ended');
  }
  verifyJws(
    jws,
    keyOf(() => authority.publicKey),
  );
}

/**
 * Reads a JWT-SVID without verifying its signature, validity or audience: for the party that just received it from its own agent.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseJwtSvidInsecure(token: string): JwtSvid {
  return read(token).svid;
}

function read(token: string): { readonly jws: Jws; readonly svid: JwtSvid; readonly common: CommonClaims } {
  const jws = parseJws(token);
  // §2.3. It also keeps WIT-SVIDs and access tokens from being taken for JWT-SVIDs.
  if (jws.type !== undefined && jws.type !== 'JWT' && jws.type !== 'JOSE') {
    throw new IdentityError('invalid_argument', 'type must be JWT or JOSE', { field: 'token.typ' });
  }
  // §2.2 makes it optional for issuers; go-spiffe, SPIRE and Countersign look keys up by it and refuse a token without.
  if (jws.keyId === undefined || jws.keyId === '') throw claimFault('kid', 'is missing');
  const common = readCommonClaims(jws.payload);
  const svid: JwtSvid = {
    id: common.id,
    audience: readAudience(jws.payload['aud']),
    claims: jws.payload,
    expiresAtMs: common.expiresAtMs,
    issuedAtMs: common.issuedAtMs,
    keyId: jws.keyId,
  };
  return { jws, svid, common };
}

/** §3.2: one text, or a list of at least one. */
function readAudience(aud: unknown): readonly string[] {
  const values: readonly unknown[] = Array.isArray(aud) ? aud : aud === undefined ? [] : [aud];
  if (values.length === 0) throw claimFault('aud', 'is missing');
  return values.map((value) => {
    if (typeof value !== 'string') throw claimFault('aud', 'is neither text nor a list of texts');
    return value;
  });
}
