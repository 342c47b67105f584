import type { KeyObject } from 'node:crypto';
import { notYet } from './not-yet.ts';

/** The signature algorithms that the SPIFFE standards allow for tokens (JWT-SVID §2.1, WIT-SVID §2.3). */
export type JwsAlgorithm = 'RS256' | 'RS384' | 'RS512' | 'ES256' | 'ES384' | 'ES512' | 'PS256' | 'PS384' | 'PS512';

/** The algorithm that a key signs with unless told otherwise: ES256, ES384, ES512 by curve, RS256 for RSA. */
export function defaultJwsAlgorithm(key: KeyObject): JwsAlgorithm {
  return notYet(key);
}

/** A JWS in compact serialization, taken apart; its signature is not verified. */
export interface Jws {
  readonly header: Readonly<Record<string, unknown>>;
  readonly payload: Readonly<Record<string, unknown>>;
  readonly algorithm: JwsAlgorithm;
  readonly keyId: string | undefined;
  readonly type: string | undefined;
  /** What the signature covers. */
  readonly signedPart: string;
  readonly signature: Uint8Array;
}

/** Takes a compact JWS apart, strictly. @throws IdentityError `invalid_argument` */
export function parseJws(token: string, field = 'token'): Jws {
  return notYet(token, field);
}

/** Verifies the signature; the algorithm must fit the key. @throws IdentityError `unauthenticated` */
export function verifyJws(jws: Jws, key: KeyObject): void {
  notYet(jws, key);
}

/** Signs a payload; `header.alg` names the algorithm. */
export function signJws(parts: {
  readonly header: Readonly<Record<string, unknown>> & { readonly alg: JwsAlgorithm };
  readonly payload: Readonly<Record<string, unknown>>;
  readonly key: KeyObject;
}): string {
  return notYet(parts);
}
