import { randomBytes } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import { SecretSchema } from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import type { Logger } from '../../runtime/log.ts';
import type { WorkloadIdentities } from '../cache/identities.ts';
import type { SdsConfig } from './config.ts';
import type { Secrets } from './secrets.ts';

/** What one client of SDS has asked for on a stream, and what it was sent. */
export interface Subscription<Request, Response> {
  /** Takes a request: the first one, an acknowledgement, a rejection, or a change of what is asked for. */
  receive(request: Request): void;
  /**
   * What the client is to be sent now; undefined when it has everything, or when something is about to be signed.
   *
   * @throws IdentityError what ends the stream
   */
  respond(workload: WorkloadIdentities): Response | undefined;
}

/** What all subscriptions of an agent share. */
export interface SubscriptionContext {
  readonly secrets: Secrets;
  readonly config: SdsConfig;
  readonly log: Logger;
}

export const SECRET_TYPE_URL = `type.googleapis.com/${SecretSchema.typeName}`;

/** @throws IdentityError `invalid_argument` when something else than secrets is asked for */
export function requireSecretType(typeUrl: string): void {
  if (typeUrl === '' || typeUrl === SECRET_TYPE_URL) return;
  throw new IdentityError('invalid_argument', `is "${typeUrl}"; this service has ${SECRET_TYPE_URL} only`, { field: 'type_url' });
}

/** A nonce that no other response has. */
export function nextNonce(): string {
  return randomBytes(8).toString('hex');
}
