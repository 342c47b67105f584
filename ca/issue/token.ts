import { createHash, randomBytes } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import { encodeJwsSigningInput, fitsKey, isJwsAlgorithm, MAX_TOKEN_BYTES } from '../../spiffe/jwt.ts';
import type { JwsAlgorithm } from '../../spiffe/jwt.ts';
import { parsePublicKey } from '../../spiffe/public-key.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { buildWitClaims, WIT_TYPE } from '../../spiffe/wit-svid.ts';
import type { TokenSigningAuthority } from '../authorities/authority.ts';
import type { KeyAlgorithm } from '../keys/key-store.ts';
import { refuseRegisteredClaims } from './custom-claims.ts';

/** A token that is fit to be signed. */
export interface PreparedToken {
  /** What the signature covers. */
  readonly signedPart: string;
  /** The `jti`; empty when it has none. */
  readonly tokenId: string;
  /** SHA-256, base64url, for the audit record. */
  readonly digest: string;
}

/** When a token is issued and ends; whole seconds. */
export interface TokenTimes {
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** What a JWT-SVID is made from. */
export interface JwtOrder extends TokenTimes {
  readonly spiffeId: SpiffeId;
  readonly audience: readonly string[];
  readonly includeTokenId: boolean;
  readonly issuer: string | undefined;
  readonly extraClaims: Readonly<Record<string, unknown>>;
}

/** What a WIT-SVID is made from. */
export interface WitOrder extends TokenTimes {
  readonly spiffeId: SpiffeId;
  readonly publicKeySpki: Uint8Array;
  readonly signingAlgorithm: string;
}

const JWS_ALGORITHMS: Readonly<Record<KeyAlgorithm, JwsAlgorithm>> = {
  'ec-p256': 'ES256',
  'ec-p384': 'ES384',
  'rsa-2048': 'RS256',
  'rsa-4096': 'RS256',
};

const TOKEN_ID_BYTES = 16;
/** What base64url of the longest signature of ours, RSA with 4,096 bits, adds to a token. */
const MAX_SIGNATURE_CHARS = 684;

/** The first of the two steps for a JWT-SVID (JWT-SVID §2, §3). @throws IdentityError `invalid_argument`, `internal` */
export function prepareJwt(order: JwtOrder, authority: TokenSigningAuthority): PreparedToken {
  refuseRegisteredClaims(order.extraClaims, 'claims');
  const audience = order.audience.filter((each) => each !== '');
  if (audience.length === 0)
    throw new IdentityError('invalid_argument', 'at least one audience is required', { field: 'audience' });
  const tokenId = order.includeTokenId ? createTokenId() : '';
  const claims = {
    ...order.extraClaims,
    sub: order.spiffeId.toString(),
    aud: audience,
    exp: order.expiresAtMs / 1000,
    iat: order.issuedAtMs / 1000,
    ...(order.issuer === undefined ? {} : { iss: order.issuer }),
    ...(tokenId === '' ? {} : { jti: tokenId }),
  };
  lintTimes(order, authority);
  const signedPart = encode('JWT', authority, claims);
  return { signedPart, tokenId, digest: digestOf(signedPart) };
}

/** The first of the two steps for a WIT-SVID (WIT-SVID §2, §3). @throws IdentityError `invalid_argument`, `internal` */
export function prepareWit(order: WitOrder, authority: TokenSigningAuthority): PreparedToken {
  const { spiffeId: id, publicKeySpki, signingAlgorithm, issuedAtMs, expiresAtMs } = order;
  const confirmationKey = parsePublicKey(publicKeySpki, 'public_key').keyObject();
  if (!isJwsAlgorithm(signingAlgorithm) || !fitsKey(signingAlgorithm, confirmationKey)) {
    const message = 'is no algorithm that this key can sign with; an ECDSA key on P-256 has ES256';
    throw new IdentityError('invalid_argument', message, { field: 'signing_algorithm' });
  }
  const tokenId = createTokenId();
  lintTimes(order, authority);
  const claims = buildWitClaims({
    id,
    confirmationKey,
    confirmationAlgorithm: signingAlgorithm,
    issuedAtMs,
    expiresAtMs,
    tokenId,
  });
  return { signedPart: encode(WIT_TYPE, authority, claims), tokenId, digest: digestOf(publicKeySpki) };
}

/** What an access token is made from. */
export interface AccessTokenOrder extends TokenTimes {
  readonly claims: Readonly<Record<string, unknown>>;
}

/** The type of an access token (RFC 9068 §2.1). */
export const ACCESS_TOKEN_TYPE = 'at+jwt';

/** The first of the two steps for an access token (RFC 9068 §2). @throws IdentityError `invalid_argument`, `internal` */
export function prepareAccessToken(order: AccessTokenOrder, authority: TokenSigningAuthority): PreparedToken {
  if (authority.kind !== 'exchange') throw new IdentityError('internal', 'access tokens are signed by an authority of their own');
  const tokenId = createTokenId();
  lintTimes(order, authority);
  const claims = { ...order.claims, exp: order.expiresAtMs / 1000, iat: order.issuedAtMs / 1000, jti: tokenId };
  const signedPart = encode(ACCESS_TOKEN_TYPE, authority, claims);
  return { signedPart, tokenId, digest: digestOf(signedPart) };
}

/** The second step. */
export function signToken({ signedPart }: PreparedToken, { key }: TokenSigningAuthority): string | Promise<string> {
  const signature = key.sign(Buffer.from(signedPart, 'latin1'), 'ieee-p1363');
  return signature instanceof Promise ? signature.then((bytes) => join(signedPart, bytes)) : join(signedPart, signature);
}

function join(signedPart: string, signature: Uint8Array): string {
  return `${signedPart}.${Buffer.from(signature.buffer, signature.byteOffset, signature.byteLength).toString('base64url')}`;
}

function encode(type: string, authority: TokenSigningAuthority, claims: Readonly<Record<string, unknown>>): string {
  const header = { alg: JWS_ALGORITHMS[authority.key.algorithm], kid: authority.id, typ: type };
  const signedPart = encodeJwsSigningInput(header, claims);
  if (signedPart.length + MAX_SIGNATURE_CHARS <= MAX_TOKEN_BYTES) return signedPart;
  throw new IdentityError('invalid_argument', `the token would be larger than ${MAX_TOKEN_BYTES} bytes: ask for less`);
}

/** What nothing that is signed may break, whoever made the order. */
function lintTimes({ issuedAtMs, expiresAtMs }: TokenTimes, authority: TokenSigningAuthority): void {
  const isSound =
    issuedAtMs < expiresAtMs && expiresAtMs <= authority.expiresAtMs && issuedAtMs % 1000 === 0 && expiresAtMs % 1000 === 0;
  if (!isSound) throw new IdentityError('internal', 'the token is not fit to be signed: its times are wrong');
}

function createTokenId(): string {
  return randomBytes(TOKEN_ID_BYTES).toString('base64url');
}

function digestOf(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('base64url');
}
