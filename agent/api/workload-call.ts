import { setMaxListeners } from 'node:events';

import { IdentityError } from '../../core/errors.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import type { Workload } from '../workload-attest/attestation.ts';

/** A call on the workload socket. */
export type WorkloadCall = Call<Workload>;

// Attestation that waits is bounded by its own timeouts, so no call needs an AbortSignal of its own for it.
const never = new AbortController().signal;
setMaxListeners(0, never);

/**
 * Refuses a request without the security header (Workload Endpoint §3): it proves that the caller can set gRPC metadata, which
 * one who only tricked a server into a request cannot.
 *
 * @throws IdentityError `invalid_argument`
 */
export function requireSecurityHeader(call: WorkloadCall): void {
  const [value, ...more] = call.metadata.getAll('workload.spiffe.io');
  if (value === 'true' && more.length === 0) return;
  throw new IdentityError(
    'invalid_argument',
    'security header missing from request: set the metadata workload.spiffe.io to true',
  );
}

/** Attests the calling process and goes on with its selectors: at once when they are known. */
export function whenAttested<T>(call: WorkloadCall, proceed: (selectors: SelectorSet) => T | Promise<T>): T | Promise<T> {
  const selectors = call.peer.attest(never);
  return selectors instanceof Promise ? selectors.then(proceed) : proceed(selectors);
}

/** The answer to a caller that no entry matches (Workload Endpoint §6). */
export function noIdentity(): IdentityError {
  return new IdentityError('permission_denied', 'no identity issued: no registration entry matches the calling process');
}

/** The answer until the agent knows its entries (Workload Endpoint §6). */
export function notReady(): IdentityError {
  return new IdentityError('unavailable', 'the agent has not synchronised with the CA yet; try again');
}
