import type { KeyObject } from 'node:crypto';
import type { BundleSource } from './bundle.ts';
import type { JwsAlgorithm } from './jwt.ts';
import { notYet } from './not-yet.ts';
import type { SpiffeId } from './spiffe-id.ts';

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

/** Verifies a WIT-SVID (WIT-SVID §4); proof of possession is the caller's part. */
export function verifyWitSvid(token: string, bundles: BundleSource, nowMs: number): WitSvid {
  return notYet(token, bundles, nowMs);
}

/** Reads a WIT-SVID without verifying its signature: for the party that just received it from its own agent. */
export function parseWitSvidInsecure(token: string): WitSvid {
  return notYet(token);
}

/** What the claims of a WIT-SVID are made from. */
export interface WitClaimsInput {
  readonly id: SpiffeId;
  readonly confirmationKey: KeyObject;
  readonly confirmationAlgorithm: JwsAlgorithm;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly tokenId?: string;
  readonly issuer?: string;
}

/** The claims of a WIT-SVID (WIT-SVID §3), `cnf` included. */
export function buildWitClaims(input: WitClaimsInput): Record<string, unknown> {
  return notYet(input);
}
