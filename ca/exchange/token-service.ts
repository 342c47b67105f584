import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { KeySource } from '../../policy/users/token-issuer.ts';
import { verifyUserToken } from '../../policy/users/user-token.ts';
import type { VerifiedUserToken } from '../../policy/users/user-token.ts';
import type { BundleSource } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Issuer } from '../issue/issuer.ts';
import type { CallPolicy } from './call-policy.ts';
import { authenticateClient } from './client-authentication.ts';
import type { ClientProof } from './client-authentication.ts';
import type { TokenExchangeConfig } from './config.ts';
import { exchangeToken, machineToken } from './exchange.ts';
import type { GrantedToken } from './exchange.ts';
import { subjectKeys } from './exchange-keys.ts';
import type { PublishedAuthorities } from './exchange-keys.ts';
import type { ExchangePolicy } from './exchange-policy.ts';
import { TokenError } from './token-error.ts';
import { ACCESS_TOKEN, parseTokenRequest } from './token-request.ts';
import type { TokenRequest } from './token-request.ts';

/** What the {@link TokenService} works with. */
export interface TokenServiceOptions {
  readonly config: Pick<TokenExchangeConfig, 'issuer' | 'issuers' | 'maxTtl'>;
  readonly policy: ExchangePolicy;
  readonly calls: Pick<CallPolicy, 'deniesAll'>;
  readonly trustDomain: TrustDomain;
  readonly registry: BundleSource & PublishedAuthorities;
  readonly issuerKeys: KeySource;
  readonly issuer: Pick<Issuer, 'issueAccessToken'>;
  readonly clock: Clock;
}

/** A successful answer (RFC 6749 §5.1, RFC 8693 §2.2.1). */
export interface TokenResponse {
  readonly access_token: string;
  readonly issued_token_type: string;
  readonly token_type: 'Bearer';
  readonly expires_in: number;
  readonly scope?: string;
}

/** Answers requests for tokens: who asks, may it, and then the token, recorded before it leaves. */
export class TokenService {
  readonly #options: TokenServiceOptions;

  constructor(options: TokenServiceOptions) {
    this.#options = options;
  }

  /** @throws TokenError; IdentityError `unavailable` when keys are not to be had or nothing can be signed */
  async answer(proof: ClientProof): Promise<TokenResponse> {
    const { config, trustDomain, registry, clock, issuer } = this.#options;
    const nowMs = clock.nowMs();
    const spiffeId = authenticateClient(proof, { trustDomain, bundles: registry, issuer: config.issuer, nowMs });
    const wanted = parseTokenRequest(proof.parameters);
    const { claims, scopes, notAfterMs } = await this.#grant(spiffeId, wanted);
    await this.#requireCallable(spiffeId, wanted);
    const { token, expiresAtMs } = await issuer.issueAccessToken({ spiffeId, caller: spiffeId.toString(), claims, notAfterMs });
    return {
      access_token: token,
      issued_token_type: ACCESS_TOKEN,
      token_type: 'Bearer',
      expires_in: Math.max(0, Math.floor((expiresAtMs - clock.nowMs()) / 1000)),
      ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
    };
  }

  /** After the rules, which are the narrower limit: who is not permitted by them learns nothing of the policies. */
  async #requireCallable(workload: SpiffeId, { audience }: TokenRequest): Promise<void> {
    const { policy, calls } = this.#options;
    if (!(await calls.deniesAll(workload, policy.workloadsNamed(audience)))) return;
    throw new TokenError(
      'invalid_target',
      `authorization policy denies ${workload.toString()} every call to this audience; see "countersign policy explain"`,
    );
  }

  async #grant(workload: SpiffeId, wanted: TokenRequest): Promise<GrantedToken> {
    const { config, policy, clock } = this.#options;
    const terms = { issuer: config.issuer, policy, maxTtlMs: config.maxTtl.ms, nowMs: clock.nowMs() };
    if (wanted.grant === 'clientCredentials') return machineToken(workload, wanted, terms);
    const token = await this.#verifySubject(workload, wanted.subjectToken);
    return exchangeToken(workload, wanted, { token, claimNames: this.#carriedClaims(token) }, terms);
  }

  /** Only the workload that a token addresses may exchange it: one that was stolen elsewhere is worth nothing here. */
  async #verifySubject(workload: SpiffeId, subjectToken: string): Promise<VerifiedUserToken> {
    const { config, policy, registry, issuerKeys, clock } = this.#options;
    const audiences = policy.namesOf(workload);
    const own = { issuer: config.issuer, audiences, claims: {} };
    try {
      return await verifyUserToken(subjectToken, {
        issuers: [own, ...config.issuers.map((each) => ({ ...each, audiences }))],
        keys: subjectKeys(config.issuer, registry, issuerKeys),
        nowMs: clock.nowMs(),
        ownIssuer: config.issuer,
      });
    } catch (cause) {
      if (!(cause instanceof IdentityError) || cause.code !== 'unauthenticated') throw cause;
      throw new TokenError('invalid_request', `subject_token is refused: ${cause.message}`, { cause });
    }
  }

  /** What an issuer's users have stays with them through further exchanges. */
  #carriedClaims({ user }: VerifiedUserToken): readonly string[] {
    return Object.keys(this.#options.config.issuers.find(({ issuer }) => issuer === user.issuer)?.claims ?? {});
  }
}
