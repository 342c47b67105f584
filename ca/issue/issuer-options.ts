import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import type { Authorities } from '../authorities/authorities.ts';

/** What an `Issuer` is made from. */
export interface IssuerOptions {
  readonly trustDomain: TrustDomain;
  readonly authorities: Pick<Authorities, 'activeX509' | 'activeToken'>;
  readonly audit: Pick<AuditLog, 'append'>;
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
  readonly log?: Logger | undefined;
  /** Most worker threads; one for each core unless given. 0 signs everything on the main thread. */
  readonly workers?: number | undefined;
}
