import type { BundleSource } from './bundle.ts';
import { notYet } from './not-yet.ts';
import type { SpiffeId } from './spiffe-id.ts';

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
 * Verifies a JWT-SVID (JWT-SVID §4).
 *
 * @param audiences what the validator answers to; one of them must be in `aud`
 * @throws IdentityError `invalid_argument` for what cannot be read, `unauthenticated` for what is not to be trusted
 */
export function verifyJwtSvid(token: string, audiences: readonly string[], bundles: BundleSource, nowMs: number): JwtSvid {
  return notYet(token, audiences, bundles, nowMs);
}

/** Reads a JWT-SVID without verifying its signature: for the party that just received it from its own agent. */
export function parseJwtSvidInsecure(token: string): JwtSvid {
  return notYet(token);
}
