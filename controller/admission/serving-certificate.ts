import type { Server } from 'node:https';
import type { SecureContextOptions } from 'node:tls';

import type { Source } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import type { AdminCredentials } from '../../runtime/admin-session.ts';

/** What the webhook server shows: the part of the controller's own credentials that TLS needs. */
export type ServingCredentials = Pick<AdminCredentials, 'chainPem' | 'privateKeyPem'>;

/**
 * TLS settings for a server that shows these credentials. TLS 1.3 alone: every API server that is supported speaks it.
 *
 * @throws IdentityError `failed_precondition` when there are none
 */
export function servingContext(credentials: ServingCredentials | undefined): SecureContextOptions {
  if (credentials === undefined) {
    const message = 'admission webhooks need a certificate: log in to the CA with a token, or set ca.mint for its private socket';
    throw new IdentityError('failed_precondition', message);
  }
  return { cert: credentials.chainPem, key: credentials.privateKeyPem, minVersion: 'TLSv1.3' };
}

/** Shows each newer certificate to each newer connection; connections that are open keep theirs. Returns the function that ends it. */
export function followCredentials(server: Server, credentials: Source<ServingCredentials | undefined>): () => void {
  return credentials.subscribe((next) => {
    if (next !== undefined) server.setSecureContext(servingContext(next));
  });
}
