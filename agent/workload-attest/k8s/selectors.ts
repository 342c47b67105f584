import type { Selector } from '../../cache/selectors.ts';
import type { ContainerStatus, Pod } from './pod.ts';

/** Selectors of a pod, the same for all of its containers; names and forms are SPIRE's. */
export function podSelectors(pod: Pod): Selector[] {
  return [
    k8s('sa', pod.serviceAccountName),
    k8s('ns', pod.namespace),
    k8s('node-name', pod.nodeName),
    k8s('pod-uid', pod.uid),
    k8s('pod-name', pod.name),
    k8s('pod-image-count', String(pod.containers.length)),
    k8s('pod-init-image-count', String(pod.initContainers.length)),
    ...imageSelectors('pod-image', pod.containers),
    ...imageSelectors('pod-init-image', pod.initContainers),
    ...labelSelectors('pod-label', pod.labels),
    ...pod.owners.flatMap(({ kind, name, uid }) => [k8s('pod-owner', `${kind}:${name}`), k8s('pod-owner-uid', `${kind}:${uid}`)]),
  ];
}

/** Selectors of the one container of a pod that the process runs in. */
export function containerSelectors(container: ContainerStatus): Selector[] {
  return [k8s('container-name', container.name), ...imageSelectors('container-image', [container])];
}

/** `pod-label:NAME:VALUE` or `ns-label:NAME:VALUE`. */
export function labelSelectors(kind: 'pod-label' | 'ns-label', labels: Readonly<Record<string, string>>): Selector[] {
  return Object.entries(labels).map(([name, value]) => k8s(kind, `${name}:${value}`));
}

/** An image by its name and by its digest; what is not known yet is left out. */
function imageSelectors(kind: string, containers: readonly ContainerStatus[]): Selector[] {
  const images = new Set(containers.flatMap(({ image, imageId }) => [image, imageId]));
  return [...images].filter((image) => image !== '').map((image) => k8s(kind, image));
}

function k8s(kind: string, value: string): Selector {
  return { type: 'k8s', value: `${kind}:${value}` };
}
