import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Clock } from '../../core/clock.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { PolicyUpdate } from '../authz/policy-update.ts';
import type { CacheUpdate } from '../cache/identity-cache.ts';

/** What a CA delivers; it is put in force as one. */
export interface SyncUpdate extends CacheUpdate {
  /** Absent from a server that has no policy to deliver. */
  readonly policy?: PolicyUpdate | undefined;
}

/** What both kinds of synchronisation work with. */
export interface SyncContext {
  readonly connection: GrpcConnection;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly log: Logger;
  /** Puts what the CA sent in force, all of it at one moment. Not called again before it has. */
  readonly apply: (update: SyncUpdate) => void | Promise<void>;
}
