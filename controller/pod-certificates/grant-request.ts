import type { Clock } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import type { PodEntries } from '../ports.ts';
import type { CertificateRequest } from './certificate-request.ts';
import { chooseEntry, MIN_LIFETIME_SECONDS, requestedId, requireEntry } from './choose-entry.ts';
import { readLivePod, type LiveObjects } from './live-pod.ts';
import { RequestRefused, RequestWaits } from './refusal.ts';
import { issuedStatus, type RequestStatus } from './request-status.ts';
import type { SignRequest, SignSvid } from './sign-svid.ts';
import { subjectKeyOf } from './subject-key.ts';

/** What {@link grantRequest} needs besides the request. */
export interface GrantOptions {
  readonly client: LiveObjects;
  readonly entries: PodEntries;
  readonly sign: SignSvid;
  readonly signerName: string;
  readonly clock: Clock;
}

/**
 * Decides over one request: the key is proven, the volume's annotations are known, pod, service account and node are as the
 * request says, the pod has a registered identity that lasts long enough. Then the CA signs it.
 *
 * @returns the status with the certificate
 * @throws RequestRefused for good; RequestWaits while something is missing; IdentityError when the API server or the CA failed
 */
export async function grantRequest(
  request: CertificateRequest,
  options: GrantOptions,
  { attempt, signal }: { readonly attempt: number; readonly signal: AbortSignal },
): Promise<RequestStatus> {
  const { client, entries, signerName, clock } = options;
  const publicKeySpki = subjectKeyOf(request);
  const id = requestedId(request);
  // A request that waits has been compared with the live objects once; the next time is when it could be granted.
  if (attempt > 0) requireEntry(entries.entriesOfPod(request.podUid), request);
  const pod = await readLivePod(client, request, { signal, signerName });
  const { entryId } = chooseEntry(entries.entriesOfPod(request.podUid), pod, id);
  const maxLifetimeSeconds = request.maxExpirationSeconds;
  const order = { entryId, publicKeySpki, maxLifetimeSeconds, minLifetimeSeconds: MIN_LIFETIME_SECONDS };
  const chain = await signed(order, options, signal);
  return issuedStatus(chain, { maxSeconds: maxLifetimeSeconds, nowMs: clock.nowMs() });
}

async function signed(order: SignRequest, { sign }: GrantOptions, signal: AbortSignal): Promise<readonly Uint8Array[]> {
  try {
    return await sign(order, signal);
  } catch (error) {
    // The entry's own lifetime, or the default where it has none: no waiting helps.
    if (isIdentityError(error, 'failed_precondition')) {
      const message = `${error.message}; Kubernetes takes no pod certificate of less than 1h`;
      throw new RequestRefused('Denied', 'LifetimeTooShort', message);
    }
    // Deleted at the CA; the reconciler makes it anew, or the pod loses it.
    if (isIdentityError(error, 'not_found'))
      throw new RequestWaits('NotRegistered', `the CA has no entry ${order.entryId} (any more)`);
    if (isIdentityError(error, 'invalid_argument')) throw new RequestRefused('Failed', 'SigningFailed', error.message);
    throw error;
  }
}
