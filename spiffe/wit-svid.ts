import type { KeyObject } from 'node:crypto';
import { IdentityError } from '../core/errors.ts';
import type { BundleSource } from './bundle.ts';
import { formatJwk, parseJwk } from './jwk.ts';
import { fitsKey, isJwsAlgorithm, parseJws } from './jwt.ts';
import type { Jws, JwsAlgorithm } from './jwt.ts';
import { verifyWithAuthority } from './jwt-svid.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { isJsonObject } from './strict-json.ts';
import type { JsonObject } from './strict-json.ts';
import { checkValidity, claimFault, readCommonClaims } from './token-claims.ts';
import type { CommonClaims } from './token-claims.ts';

/** The `typ` of a WIT-SVID (WIT-SVID §2.2). */
export const WIT_TYPE = 'wit+jwt';

/** A WIT-SVID. */
export interface WitSvid {
  readonly id: SpiffeId;
  /** The workload's key (`cnf.jwk`): whoever presents the token must prove that they hold its private part. */
  readonly confirmationKey: KeyObject;
  readonly confirmationAlgorithm: JwsAlgorithm;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly expiresAtMs: number;
  readonly issuedAtMs: number | undefined;
  readonly keyId: string;
}

/**
 * Verifies a WIT-SVID (WIT-SVID §2–§4) against the bundle of its own trust domain. It is no bearer token: proof of possession of
 * the confirmation key is the caller's part (§7.1).
 *
 * @throws IdentityError `invalid_argument` for what cannot be read, `unauthenticated` for what is not to be trusted
 */
export function verifyWitSvid(token: string, bundles: BundleSource, nowMs: number): WitSvid {
  const { jws, svid, common } = read(token);
  verifyWithAuthority(jws, svid.id, bundles.bundleOf(svid.id.trustDomain)?.witAuthorities.get(svid.keyId), nowMs);
  checkValidity(common, nowMs);
  return svid;
}

/**
 * Reads a WIT-SVID without verifying its signature and validity: for the party that just received it from its own agent.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseWitSvidInsecure(token: string): WitSvid {
  return read(token).svid;
}

function read(token: string): { readonly jws: Jws; readonly svid: WitSvid; readonly common: CommonClaims } {
  const jws = parseJws(token);
  if (jws.type !== WIT_TYPE) throw new IdentityError('invalid_argument', `type must be ${WIT_TYPE}`, { field: 'token.typ' });
  if (jws.keyId === undefined || jws.keyId === '') throw claimFault('kid', 'is missing');
  const common = readCommonClaims(jws.payload);
  // §3.8: a token with an audience could be taken for a bearer token.
  if (jws.payload['aud'] !== undefined) throw claimFault('aud', 'must not be in a WIT-SVID');
  const svid: WitSvid = {
    id: common.id,
    ...readConfirmation(jws.payload['cnf']),
    claims: jws.payload,
    expiresAtMs: common.expiresAtMs,
    issuedAtMs: common.issuedAtMs,
    keyId: jws.keyId,
  };
  return { jws, svid, common };
}

/** §3.2: the JWK with its algorithm. */
function readConfirmation(cnf: unknown): Pick<WitSvid, 'confirmationKey' | 'confirmationAlgorithm'> {
  const jwk: unknown = isJsonObject(cnf) ? cnf['jwk'] : undefined;
  if (!isJsonObject(jwk)) throw claimFault('cnf', 'has no JWK');
  const { alg } = jwk;
  if (!isJwsAlgorithm(alg)) throw claimFault('cnf.jwk.alg', 'is missing or not allowed');
  const key = parseJwk(jwk, 'token.cnf.jwk')?.keyObject();
  if (key === undefined || !fitsKey(alg, key)) throw claimFault('cnf.jwk', 'is no key for its algorithm');
  return { confirmationKey: key, confirmationAlgorithm: alg };
}

/** What the claims of a WIT-SVID are made from. */
export interface WitClaimsInput {
  readonly id: SpiffeId;
  /** The workload's public key. */
  readonly confirmationKey: KeyObject;
  readonly confirmationAlgorithm: JwsAlgorithm;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** `jti`; left out unless given. */
  readonly tokenId?: string;
  /** `iss`; §3.7: no URL that OpenID Connect Discovery answers at. */
  readonly issuer?: string;
}

/**
 * The claims of a WIT-SVID (WIT-SVID §3), `cnf` included; times are whole seconds.
 *
 * @throws IdentityError `invalid_argument` when the algorithm does not fit the key, or the key is weak or not public
 */
export function buildWitClaims(input: WitClaimsInput): Record<string, unknown> {
  const { confirmationKey: key, confirmationAlgorithm: alg } = input;
  if (key.type !== 'public' || !fitsKey(alg, key)) {
    throw new IdentityError('invalid_argument', 'is no public key for its algorithm', { field: 'confirmation_key' });
  }
  const jwk: JsonObject = { ...formatJwk(key), alg };
  return {
    sub: input.id.toString(),
    exp: Math.floor(input.expiresAtMs / 1000),
    iat: Math.floor(input.issuedAtMs / 1000),
    cnf: { jwk },
    ...(input.tokenId === undefined ? {} : { jti: input.tokenId }),
    ...(input.issuer === undefined ? {} : { iss: input.issuer }),
  };
}
