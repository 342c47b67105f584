import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Clock } from '../../core/clock.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { CacheUpdate } from '../cache/identity-cache.ts';

/** What both kinds of synchronisation work with. */
export interface SyncContext {
  readonly connection: GrpcConnection;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly log: Logger;
  /** Puts what the CA sent in force. */
  readonly apply: (update: CacheUpdate) => void;
}
