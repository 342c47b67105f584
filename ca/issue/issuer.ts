import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { JwsAlgorithm } from '../../spiffe/jwt.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import type { Authorities } from '../authorities/authorities.ts';

/** What an {@link Issuer} is made from. */
export interface IssuerOptions {
  readonly trustDomain: TrustDomain;
  readonly authorities: Authorities;
  readonly audit: AuditLog;
  readonly clock: Clock;
  /** Lifetimes where neither request nor entry asks for one, in milliseconds. */
  readonly ttl: {
    readonly x509SvidMs: number;
    readonly agentSvidMs: number;
    readonly jwtSvidMs: number;
    readonly witSvidMs: number;
    readonly caMs: number;
  };
  /** The `iss` of JWT-SVIDs. */
  readonly jwtIssuer?: string | undefined;
  /** Most worker threads; one for each core unless given. 0 signs everything on the main thread. */
  readonly workers?: number | undefined;
}

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

/**
 * Issues every document, in two steps: `prepare` makes the profile and lints what would be signed, then it is signed. The
 * audit record is on the disk before an SVID is returned. All methods throw IdentityError: `invalid_argument` for the request,
 * `unavailable` when no authority is active or the audit record cannot be written.
 */
export class Issuer implements AsyncDisposable {
  constructor(options: IssuerOptions) {
    void options;
  }

  /** For BatchNewX509SVID and NewX509SVID by an entry. */
  issueX509Svid(request: X509SvidRequest): Promise<IssuedX509> {
    throw new IdentityError('unimplemented', `not built yet ${request.caller}`);
  }

  /** Many at once, on worker threads; results in order, each an SVID or the error of that one request. Rejects only when nothing could be signed at all. */
  issueX509SvidBatch(requests: readonly X509SvidRequest[]): Promise<readonly (IssuedX509 | IdentityError)[]> {
    throw new IdentityError('unimplemented', `not built yet ${requests.length}`);
  }

  /** For MintX509SVID: SPIFFE ID, DNS names and subject come from the CSR. */
  mintX509Svid(request: Requester & { readonly csr: Uint8Array; readonly ttlSeconds?: number | undefined }): Promise<IssuedX509> {
    throw new IdentityError('unimplemented', `not built yet ${request.caller}`);
  }

  /** For AttestAgent and RenewAgent; the ID must lie below `/spire/agent/`. */
  issueAgentSvid(request: SubjectKey & Requester & { readonly spiffeId: SpiffeId }): Promise<IssuedX509> {
    throw new IdentityError('unimplemented', `not built yet ${request.caller}`);
  }

  /** The CA's own certificate, `/spire/server`, with a new key. */
  issueServerSvid(): Promise<ServerSvid> {
    throw new IdentityError('unimplemented', 'not built yet');
  }

  /** For NewDownstreamX509CA: an intermediate for a downstream CA. */
  issueDownstreamCa(
    request: Requester & { readonly csr: Uint8Array; readonly ttlSeconds?: number | undefined },
  ): Promise<IssuedX509> {
    throw new IdentityError('unimplemented', `not built yet ${request.caller}`);
  }

  /** For MintJWTSVID and NewJWTSVID. */
  issueJwtSvid(request: JwtSvidRequest): Promise<IssuedToken> {
    throw new IdentityError('unimplemented', `not built yet ${request.caller}`);
  }

  /** For MintWITSVID and BatchNewWITSVID. */
  issueWitSvid(request: WitSvidRequest): Promise<IssuedToken> {
    throw new IdentityError('unimplemented', `not built yet ${request.caller}`);
  }

  /** Ends the worker threads. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
