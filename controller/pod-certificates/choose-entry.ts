import { isIdentityError } from '../../core/errors.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { PodEntry } from '../ports.ts';
import type { CertificateRequest } from './certificate-request.ts';
import type { LivePod } from './live-pod.ts';
import { INVALID_ANNOTATIONS, RequestRefused, RequestWaits } from './refusal.ts';
import { BACKDATE_SECONDS } from './sign-svid.ts';

/** Which of the pod's identities a volume is to hold; without it, that of the oldest resource. */
export const SPIFFE_ID_ANNOTATION = 'countersign.dev/spiffe-id';

/** The least lifetime that the API server accepts, from `notBefore` to `notAfter`. */
export const MIN_LIFETIME_SECONDS = 3_600;

/**
 * The SPIFFE ID that the volume's annotations ask for; undefined when they ask for none.
 *
 * @throws RequestRefused `Denied` for an annotation that is not known, or whose value is no SPIFFE ID
 */
export function requestedId({ annotations }: CertificateRequest): string | undefined {
  const unknown = Object.keys(annotations).filter((name) => name !== SPIFFE_ID_ANNOTATION);
  if (unknown.length > 0) {
    const message = `unknown userAnnotations ${unknown.join(', ')}; known: ${SPIFFE_ID_ANNOTATION}`;
    throw new RequestRefused('Denied', INVALID_ANNOTATIONS, message);
  }
  const id = annotations[SPIFFE_ID_ANNOTATION];
  try {
    return id === undefined ? undefined : parseSpiffeId(id, SPIFFE_ID_ANNOTATION).toString();
  } catch (error) {
    if (!isIdentityError(error)) throw error;
    throw new RequestRefused('Denied', INVALID_ANNOTATIONS, error.message);
  }
}

/**
 * The entry that the certificate is of: of those that hold for the pod as a whole the one that is asked for, or the first.
 * An entry for one container or process of the pod is left out: every container that mounts the volume would have it.
 *
 * @param entries the pod's entries, oldest declaration first
 * @throws RequestWaits while there is none; RequestRefused `Denied` when its lifetime is too short for the API
 */
export function chooseEntry(entries: readonly PodEntry[], pod: LivePod, id: string | undefined): PodEntry & { entryId: string } {
  requireEntry(entries, { namespace: pod.namespace, podName: pod.name });
  const asked = entries.filter(({ entry }) => id === undefined || entry.spiffeId === id);
  if (asked.length === 0) {
    const message = `${SPIFFE_ID_ANNOTATION} asks for ${id ?? ''}, which is none of the pod's identities: ${idsOf(entries)}`;
    throw new RequestWaits('NoSuchIdentity', message);
  }
  const chosen = asked.find(({ entry }) => entry.selectors.every((selector) => holdsFor(pod, selector)));
  if (chosen === undefined) {
    const message = `${idsOf(asked)} is for a part of the pod alone (by its selectors): a volume cannot hold it, the agent's socket can give it`;
    throw new RequestWaits('NotForWholePod', message);
  }
  checkLifetime(chosen);
  const { entryId } = chosen;
  if (entryId === undefined) throw new RequestWaits('NotRegistered', `${idsOf([chosen])} is not registered at the CA yet`);
  return { ...chosen, entryId };
}

/** @throws RequestWaits while nothing gives the pod an identity */
export function requireEntry(entries: readonly PodEntry[], pod: Pick<CertificateRequest, 'namespace' | 'podName'>): void {
  if (entries.length > 0) return;
  const message = `no identity is declared for pod ${pod.namespace}/${pod.podName}; declare one with a WorkloadIdentity or ClusterWorkloadIdentity that selects it`;
  throw new RequestWaits('NoIdentity', message);
}

function checkLifetime({ entry: { spiffeId, x509SvidTtlSeconds: ttlSeconds }, declaredBy }: PodEntry): void {
  if (ttlSeconds === 0 || ttlSeconds + BACKDATE_SECONDS >= MIN_LIFETIME_SECONDS) return;
  const message = `${spiffeId} lasts ${ttlSeconds} s (ttl of ${declaredBy.kind} ${declaredBy.name}); Kubernetes takes no pod certificate of less than 1h`;
  throw new RequestRefused('Denied', 'LifetimeTooShort', message);
}

/** Whether a selector is true of the pod as a whole. */
function holdsFor(pod: LivePod, selector: string): boolean {
  const facts = [
    `k8s:pod-uid:${pod.uid}`,
    `k8s:ns:${pod.namespace}`,
    `k8s:sa:${pod.serviceAccount}`,
    `k8s:pod-name:${pod.name}`,
    `k8s:node-name:${pod.nodeName}`,
    ...Object.entries(pod.labels).map(([name, value]) => `k8s:pod-label:${name}:${value}`),
  ];
  return facts.includes(selector);
}

function idsOf(entries: readonly PodEntry[]): string {
  return entries.map(({ entry }) => entry.spiffeId).join(', ');
}
