import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Authorizer } from '../authz/check.ts';
import type { DecidedCallObserver } from '../authz/decided-call.ts';
import type { EntitlementSource } from '../authz/destinations.ts';
import type { UserCheck } from '../authz/user-check.ts';
import { FailureLog } from '../workload-attest/failure-log.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import { ClientCertificates } from './client-certificates.ts';
import { HttpAuthorization } from './http-authorization.ts';
import { listenForCalls } from './listener.ts';

/** What {@link serveHttpAuthorization} is made from. */
export interface HttpAuthorizationParts {
  readonly path: string;
  /** Permission bits of the socket file. */
  readonly mode: number;
  readonly accept: (socket: Socket) => Workload;
  readonly identities: EntitlementSource;
  readonly authorizer: Authorizer;
  readonly users: Pick<UserCheck, 'authenticate'>;
  readonly onDecided?: DecidedCallObserver | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Serves the HTTP enforcement point on `listen.authz`.
 *
 * @throws IdentityError as `listenOnPath` does
 */
export async function serveHttpAuthorization(parts: HttpAuthorizationParts): Promise<AsyncDisposable> {
  const { path, mode, accept, identities, authorizer, users, onDecided, clock, log } = parts;
  const certificates = new ClientCertificates({ identities, clock });
  const failures = new FailureLog(log, clock);
  const http = new HttpAuthorization({
    authorizer,
    users,
    clock,
    onDecided,
    readCertificate: (escapedPem, asking) => certificates.idOf(escapedPem, asking),
    // A proxy that is not configured well fails at each request.
    onFault: (error) => failures.failed('proxy', error, 'a call was denied: the proxy that asks is at fault, or the agent'),
  });
  const listener = await listenForCalls({ path, mode, accept, answer: (request, asking) => http.answer(request, asking) });
  log.info({ path }, 'http authorization is served');
  return listener;
}
