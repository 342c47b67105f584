import { IdentityError } from '../../core/errors.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';
import { encodePem } from '../../spiffe/pem.ts';
import { MIN_LIFETIME_SECONDS } from './choose-entry.ts';
import type { RequestRefused } from './refusal.ts';

/** A status as the API takes it: everything at once, and never again. */
export type RequestStatus = Readonly<Record<string, unknown>>;

/**
 * The status of a request that got its certificate. Times are the certificate's own, to the second; the kubelet renews from half
 * life on.
 *
 * @param chainDer leaf first
 * @throws IdentityError `failed_precondition` when the API server would not take the certificate
 */
export function issuedStatus(
  chainDer: readonly Uint8Array[],
  bounds: { readonly maxSeconds: number; readonly nowMs: number },
): RequestStatus {
  const [leafDer] = chainDer;
  if (leafDer === undefined) throw new IdentityError('internal', 'the CA answered without a certificate');
  const { notBeforeMs, notAfterMs, uriSans } = parseCertificate(leafDer);
  const lifetimeSeconds = (notAfterMs - notBeforeMs) / 1000;
  if (lifetimeSeconds < MIN_LIFETIME_SECONDS || lifetimeSeconds > bounds.maxSeconds) {
    const message = `the CA's certificate lasts ${lifetimeSeconds} s; the API takes ${MIN_LIFETIME_SECONDS} to ${bounds.maxSeconds}`;
    throw new IdentityError('failed_precondition', message);
  }
  const refreshMs = notBeforeMs + Math.floor(lifetimeSeconds / 2) * 1000;
  const message = `certificate of ${uriSans[0] ?? 'no SPIFFE ID'}`;
  return {
    conditions: [condition({ type: 'Issued', reason: 'Issued', message, nowMs: bounds.nowMs })],
    certificateChain: chainDer.map((der) => encodePem('CERTIFICATE', der)).join(''),
    notBefore: timeOf(notBeforeMs),
    notAfter: timeOf(notAfterMs),
    beginRefreshAt: timeOf(refreshMs),
  };
}

/** The status of a request that gets none. */
export function refusedStatus({ condition: type, reason, message }: RequestRefused, nowMs: number): RequestStatus {
  return { conditions: [condition({ type, reason, message, nowMs })] };
}

interface Condition {
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  readonly nowMs: number;
}

function condition({ type, reason, message, nowMs }: Condition): Record<string, unknown> {
  return { type, status: 'True', reason, message, lastTransitionTime: timeOf(nowMs) };
}

/** RFC 3339 to the second, as metav1.Time is written. */
function timeOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
