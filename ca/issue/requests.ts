import type { KeyObject } from 'node:crypto';
import type { JwsAlgorithm } from '../../spiffe/jwt.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';

/** Who asked, for the audit record. */
export interface Requester {
  /** A SPIFFE ID, `local uid=0 pid=42`, or `self`. */
  readonly caller: string;
  /** The registration entry that allows it. */
  readonly entryId?: string | undefined;
}

/** A CSR, DER: its signature is verified and its key certified. Or a key alone, from who has proven it elsewhere. */
export type SubjectKey = { readonly csr: Uint8Array } | { readonly publicKeySpki: Uint8Array };

/** An X509-SVID for a workload, by its entry. Of the CSR only the key counts. */
export type X509SvidRequest = SubjectKey &
  Requester & {
    readonly spiffeId: SpiffeId;
    readonly dnsNames?: readonly string[] | undefined;
    /** 0 or less: the CA's default. */
    readonly ttlSeconds?: number | undefined;
  };

/** An X509-SVID for somebody who logged in. */
export type AdminSvidRequest = SubjectKey &
  Requester & { readonly spiffeId: SpiffeId; readonly dnsNames: readonly string[]; readonly ttlSeconds: number };

/** An issued X509-SVID or CA certificate. */
export interface IssuedX509 {
  readonly spiffeId: SpiffeId;
  /** DER, leaf first; under an upstream root followed by the intermediates. */
  readonly chain: readonly Uint8Array[];
  /** Lower-case hexadecimal. */
  readonly serialHex: string;
  /** The same as a decimal number, as SPIRE writes it. */
  readonly serialNumber: string;
  /** Whole seconds. */
  readonly expiresAtMs: number;
}

/** A JWT-SVID request. */
export interface JwtSvidRequest extends Requester {
  readonly spiffeId: SpiffeId;
  /** At least one that is not empty. */
  readonly audience: readonly string[];
  readonly ttlSeconds?: number | undefined;
  /** Gives the token a `jti`. */
  readonly includeTokenId?: boolean | undefined;
  /** Further claims; a registered one (`sub`, `aud`, `exp`, …) is refused. */
  readonly extraClaims?: Readonly<Record<string, unknown>> | undefined;
}

/** A WIT-SVID request. */
export interface WitSvidRequest extends Requester {
  readonly spiffeId: SpiffeId;
  /** The workload's key, a SubjectPublicKeyInfo. */
  readonly publicKeySpki: Uint8Array;
  /** What the workload will sign with; must fit the key. */
  readonly signingAlgorithm: JwsAlgorithm | (string & {});
  readonly ttlSeconds?: number | undefined;
}

/** An access token for a workload, of the token exchange. */
export interface AccessTokenRequest extends Requester {
  /** The workload that it is given to. */
  readonly spiffeId: SpiffeId;
  /** All claims but `exp`, `iat` and `jti`; they were put together by the exchange, not by the caller. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** It ends then, or earlier: with the authority. */
  readonly notAfterMs: number;
}

/** An issued token. */
export interface IssuedToken {
  readonly spiffeId: SpiffeId;
  readonly token: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** An X509-SVID of the CA itself, with its key. */
export interface ServerSvid extends IssuedX509 {
  readonly privateKey: KeyObject;
}

/** A mint request: SPIFFE ID, DNS names and subject are what the CSR asks for. */
export interface MintRequest extends Requester {
  readonly csr: Uint8Array;
  /** 0 or less: the CA's default. */
  readonly ttlSeconds?: number | undefined;
}
