import { IdentityError } from '../../core/errors.ts';
import { createSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { IssuedKind } from '../audit/audit-record.ts';
import type { TokenSigningAuthority } from '../authorities/authority.ts';
import { generatePrivateKey, softwareKey } from '../keys/software-key.ts';
import { issueDownstreamCa } from './downstream-ca.ts';
import type { IssuerOptions } from './issuer-options.ts';
import { expiryOf } from './lifetime.ts';
import type {
  AccessTokenRequest,
  AdminSvidRequest,
  IssuedToken,
  IssuedX509,
  JwtSvidRequest,
  MintRequest,
  Requester,
  ServerSvid,
  SubjectKey,
  WitSvidRequest,
  X509SvidRequest,
} from './requests.ts';
import { signRecorded } from './sign-recorded.ts';
import { SigningPool } from './signing-pool.ts';
import { prepareAccessToken, prepareJwt, prepareWit, signToken, type PreparedToken, type TokenTimes } from './token.ts';
import { requireAgentId, requireLoginId, requireWorkloadId } from './workload-id.ts';
import { X509Issuer, type X509Task } from './x509-issuer.ts';

export type { IssuerOptions } from './issuer-options.ts';
export type {
  AccessTokenRequest,
  AdminSvidRequest,
  IssuedToken,
  IssuedX509,
  JwtSvidRequest,
  MintRequest,
  Requester,
  ServerSvid,
  SubjectKey,
  WitSvidRequest,
  X509SvidRequest,
} from './requests.ts';

/** A token that has been prepared, and what its record says. */
interface TokenTask extends TokenTimes {
  readonly kind: IssuedKind;
  readonly prepared: PreparedToken;
  readonly authority: TokenSigningAuthority;
  readonly request: Requester & { readonly spiffeId: SpiffeId };
}

/**
 * Issues every document, in two steps: first the profile is made and linted, then it is signed. The audit record is on the
 * disk before an SVID is returned. All methods throw IdentityError: `invalid_argument` for the request, `unavailable` when no
 * authority is in force or the audit record cannot be written.
 */
export class Issuer implements AsyncDisposable {
  readonly #options: IssuerOptions;
  readonly #pool: SigningPool | undefined;
  readonly #x509: X509Issuer;

  constructor(options: IssuerOptions) {
    this.#options = options;
    this.#pool = options.workers === 0 ? undefined : new SigningPool(options);
    this.#x509 = new X509Issuer(options, this.#pool);
  }

  /** For an entry; of the CSR only the key counts. */
  async issueX509Svid(request: X509SvidRequest): Promise<IssuedX509> {
    return this.#x509.issue(this.#workloadTask(request));
  }

  /** Many at once, on worker threads; results in order, each an SVID or the error of that one request. Rejects only when none can be issued at all. */
  async issueX509SvidBatch(requests: readonly X509SvidRequest[]): Promise<readonly (IssuedX509 | IdentityError)[]> {
    const tasks = requests.map((request) => {
      try {
        return this.#workloadTask(request);
      } catch (error) {
        if (error instanceof IdentityError) return error;
        throw error;
      }
    });
    const issued = await this.#x509.issueBatch(tasks.filter((task): task is X509Task => !(task instanceof IdentityError)));
    let next = 0;
    return tasks.map((task) => (task instanceof IdentityError ? task : orMissing(issued[next++])));
  }

  /** For MintX509SVID: SPIFFE ID, DNS names and subject come from the CSR. */
  async mintX509Svid(request: MintRequest): Promise<IssuedX509> {
    return this.#x509.issue({
      kind: 'x509-svid',
      key: request,
      requester: request,
      spiffeId: undefined,
      dnsNames: [],
      ttlSeconds: request.ttlSeconds,
      defaultTtlMs: this.#options.ttl.x509SvidMs,
    });
  }

  /** For AttestAgent and RenewAgent; the ID must lie below `/spire/agent/`. */
  async issueAgentSvid(request: SubjectKey & Requester & { readonly spiffeId: SpiffeId }): Promise<IssuedX509> {
    requireAgentId(request.spiffeId, this.#options.trustDomain);
    return this.#x509.issue(fixedTask('agent-svid', request, this.#options.ttl.agentSvidMs));
  }

  /** For Login; the ID must lie below `/spire/admin/`. */
  async issueAdminSvid(request: AdminSvidRequest): Promise<IssuedX509> {
    requireLoginId(request.spiffeId, this.#options.trustDomain);
    const { dnsNames, ttlSeconds } = request;
    return this.#x509.issue({ ...fixedTask('admin-svid', request, this.#options.ttl.x509SvidMs), dnsNames, ttlSeconds });
  }

  /** The CA's own certificate, `/spire/server`, with a new key. */
  async issueServerSvid(): Promise<ServerSvid> {
    const privateKey = await generatePrivateKey('ec-p256');
    const { publicKeySpki } = softwareKey('server', 'ec-p256', privateKey);
    const spiffeId = createSpiffeId(this.#options.trustDomain, '/spire/server');
    const task = fixedTask('server-svid', { publicKeySpki, spiffeId, caller: 'self' }, this.#options.ttl.x509SvidMs);
    return { ...(await this.#x509.issue(task)), privateKey };
  }

  /** For NewDownstreamX509CA: an intermediate for a downstream CA. */
  issueDownstreamCa(request: MintRequest): Promise<IssuedX509> {
    return issueDownstreamCa(this.#options, request);
  }

  /** For MintJWTSVID and NewJWTSVID. */
  async issueJwtSvid(request: JwtSvidRequest): Promise<IssuedToken> {
    const { spiffeId, audience, includeTokenId = false, extraClaims = {} } = request;
    requireWorkloadId(spiffeId, this.#options.trustDomain);
    const authority = this.#options.authorities.activeToken('jwt');
    const times = this.#tokenTimes(request.ttlSeconds, this.#options.ttl.jwtSvidMs, authority);
    const order = { ...times, spiffeId, audience, includeTokenId, extraClaims, issuer: this.#options.jwtIssuer };
    return this.#issueToken({ kind: 'jwt-svid', prepared: prepareJwt(order, authority), authority, request, ...times });
  }

  /** For MintWITSVID and BatchNewWITSVID. */
  async issueWitSvid(request: WitSvidRequest): Promise<IssuedToken> {
    const { spiffeId, publicKeySpki, signingAlgorithm } = request;
    requireWorkloadId(spiffeId, this.#options.trustDomain);
    const authority = this.#options.authorities.activeToken('wit');
    const times = this.#tokenTimes(request.ttlSeconds, this.#options.ttl.witSvidMs, authority);
    const prepared = prepareWit({ ...times, spiffeId, publicKeySpki, signingAlgorithm }, authority);
    return this.#issueToken({ kind: 'wit-svid', prepared, authority, request, ...times });
  }

  /** For the token endpoint; signed by an authority that is not in the bundle. */
  async issueAccessToken(request: AccessTokenRequest): Promise<IssuedToken> {
    const { spiffeId, claims, notAfterMs } = request;
    requireWorkloadId(spiffeId, this.#options.trustDomain);
    const authority = this.#options.authorities.activeToken('exchange');
    const nowMs = this.#options.clock.nowMs();
    const expiresAtMs = expiryOf({
      nowMs,
      ttlSeconds: undefined,
      defaultMs: notAfterMs - nowMs,
      authorityEndMs: authority.expiresAtMs,
    });
    const times = { issuedAtMs: Math.floor(nowMs / 1000) * 1000, expiresAtMs };
    const prepared = prepareAccessToken({ ...times, claims }, authority);
    return this.#issueToken({ kind: 'access-token', prepared, authority, request, ...times });
  }

  /** Ends the worker threads. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool?.[Symbol.asyncDispose]();
  }

  #workloadTask(request: X509SvidRequest): X509Task {
    requireWorkloadId(request.spiffeId, this.#options.trustDomain);
    const { dnsNames = [], ttlSeconds } = request;
    return { ...fixedTask('x509-svid', request, this.#options.ttl.x509SvidMs), dnsNames, ttlSeconds };
  }

  #tokenTimes(ttlSeconds: number | undefined, defaultMs: number, authority: TokenSigningAuthority): TokenTimes {
    const nowMs = this.#options.clock.nowMs();
    const expiresAtMs = expiryOf({ nowMs, ttlSeconds, defaultMs, authorityEndMs: authority.expiresAtMs });
    return { issuedAtMs: Math.floor(nowMs / 1000) * 1000, expiresAtMs };
  }

  async #issueToken({ kind, prepared, authority, request, issuedAtMs, expiresAtMs }: TokenTask): Promise<IssuedToken> {
    const { spiffeId, caller, entryId = '' } = request;
    const record = {
      timeMs: this.#options.clock.nowMs(),
      kind,
      spiffeId: spiffeId.toString(),
      caller,
      entryId,
      serial: prepared.tokenId,
      digest: prepared.digest,
      authorityId: authority.id,
      expiresAtMs,
    };
    const token = await signRecorded(this.#options.audit, record, () => signToken(prepared, authority));
    return { spiffeId, token, issuedAtMs, expiresAtMs };
  }
}

function fixedTask(
  kind: IssuedKind,
  request: SubjectKey & Requester & { readonly spiffeId: SpiffeId },
  defaultTtlMs: number,
): X509Task {
  const spiffeId = request.spiffeId.toString();
  return { kind, key: request, requester: request, spiffeId, dnsNames: [], ttlSeconds: undefined, defaultTtlMs };
}

function orMissing(issued: IssuedX509 | IdentityError | undefined): IssuedX509 | IdentityError {
  return issued ?? new IdentityError('internal', 'the signing threads left out a result');
}
