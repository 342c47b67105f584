import type { KeyObject } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import type { Source } from '../core/current.ts';
import { IdentityError } from '../core/errors.ts';
import type { Bundle } from '../spiffe/bundle.ts';
import type { SpiffeId } from '../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import type { Bootstrap } from './bootstrap.ts';
import type { ListenAddress } from './config-file.ts';
import type { GrpcConnection } from './grpc-client.ts';
import type { Logger } from './log.ts';

/** What this process proves itself with, to the CA and as a server to others. */
export interface AdminCredentials {
  readonly spiffeId: SpiffeId;
  /** DER, leaf first. */
  readonly chainDer: readonly Uint8Array[];
  readonly chainPem: string;
  readonly privateKey: KeyObject;
  readonly privateKeyPem: string;
  /** DNS names in the certificate: what a webhook server can be called by. */
  readonly dnsNames: readonly string[];
  readonly expiresAtMs: number;
}

/** How the CA is reached. */
export type AdminTarget =
  | {
      /** The CA's private socket: whoever may open it is trusted. Works with a SPIRE server too. */
      readonly kind: 'socket';
      readonly path: string;
      /**
       * Mints an SVID of this ID and these DNS names for {@link AdminSession.credentials}, renewed at half life; without it
       * the session has none.
       */
      readonly mint?: { readonly spiffeId: SpiffeId; readonly dnsNames: readonly string[] } | undefined;
    }
  | {
      /** The CA's TLS listener: the session logs in with a service-account token. */
      readonly kind: 'login';
      readonly address: ListenAddress;
      /** The projected token of audience `countersign-admin`; read anew at each login. */
      readonly tokenFile: string;
      /** As the CA's configuration calls the cluster; may be left out when there is only one. */
      readonly cluster?: string | undefined;
      /** The bundle that the CA is first verified by. */
      readonly bootstrap: Bootstrap;
    };

/** What {@link openAdminSession} needs. */
export interface AdminSessionOptions {
  readonly ca: AdminTarget;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends the attempts to open the session. */
  readonly signal?: AbortSignal | undefined;
}

/** A standing with the CA: its connection, and what is renewed in the background for as long as the session is open. */
export interface AdminSession extends AsyncDisposable {
  /** Calls over it are made with the SVID of the moment. */
  readonly connection: GrpcConnection;
  /** Undefined for a private socket without `mint`. */
  readonly credentials: Source<AdminCredentials | undefined>;
  /** Of the own trust domain; the newest that the CA told. */
  readonly bundle: Source<Bundle>;
  /** Why the CA cannot be reached at this moment, for readiness and logs; undefined while all is well. */
  readonly outage: Source<IdentityError | undefined>;
}

/**
 * Opens a session: logs in where that is configured and learns the bundle. While the CA is away it keeps trying.
 *
 * @throws IdentityError when the CA refuses the login, or something on this side is missing: trying again would not help
 * @example
 * await using session = await openAdminSession({ ca: { kind: 'socket', path }, trustDomain, clock, log });
 * const { entries } = await session.connection.client(Entry).listEntries({});
 */
export function openAdminSession(_options: AdminSessionOptions): Promise<AdminSession> {
  return Promise.reject(new IdentityError('unimplemented', 'admin sessions are not built yet'));
}
