import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { trimObject } from '../identity/trim.ts';
import type { EndpointsRecord, NamespaceRecord, NodeRecord, PodRecord, ServiceRecord, Trim } from '../ports.ts';

type Fields = Readonly<Record<string, unknown>>;

/** What is kept of a pod. */
export function podRecord(object: KubeObject, trim: Trim): PodRecord {
  const { metadata } = object;
  const { nodeName, serviceAccountName } = fieldsOf(object['spec']);
  const { phase } = fieldsOf(object['status']);
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    uid: metadata.uid ?? '',
    nodeName: typeof nodeName === 'string' && nodeName !== '' ? nodeName : undefined,
    // The API server fills it in; a pod from a file may lack it.
    serviceAccountName: typeof serviceAccountName === 'string' && serviceAccountName !== '' ? serviceAccountName : 'default',
    labels: metadata.labels ?? NO_LABELS,
    finished: phase === 'Succeeded' || phase === 'Failed',
    createdAtMs: timeMs(metadata.creationTimestamp),
    object: trimObject({ metadata, spec: object['spec'] }, trim),
  };
}

/** What is kept of a node. */
export function nodeRecord(object: KubeObject, trim: Trim): NodeRecord {
  const { metadata } = object;
  return { name: metadata.name ?? '', uid: metadata.uid ?? '', object: trimObject({ metadata, spec: object['spec'] }, trim) };
}

/** What is kept of a namespace. */
export function namespaceRecord({ metadata }: KubeObject): NamespaceRecord {
  return { name: metadata.name ?? '', labels: metadata.labels ?? NO_LABELS };
}

/** What is kept of a Service. */
export function serviceRecord({ metadata }: KubeObject): ServiceRecord {
  return { namespace: metadata.namespace ?? '', name: metadata.name ?? '' };
}

/** What is kept of an EndpointSlice: the Service is in a label (Kubernetes' `kubernetes.io/service-name`). */
export function endpointsRecord(object: KubeObject): EndpointsRecord {
  const { metadata } = object;
  const service = metadata.labels?.['kubernetes.io/service-name'] ?? '';
  const endpoints = listOf(object['endpoints']);
  const podUids = endpoints.flatMap((endpoint) => {
    const { targetRef } = fieldsOf(endpoint);
    const { kind, uid } = fieldsOf(targetRef);
    return kind === 'Pod' && typeof uid === 'string' ? [uid] : [];
  });
  return { namespace: metadata.namespace ?? '', name: metadata.name ?? '', service, podUids: service === '' ? [] : podUids };
}

const NO_LABELS = {};

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function timeMs(text: string | undefined): number {
  const ms = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(ms) ? 0 : ms;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
