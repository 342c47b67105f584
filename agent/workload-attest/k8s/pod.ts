/** What the kubelet says about one container of a pod. */
export interface ContainerStatus {
  readonly name: string;
  /** As the runtime names it, such as `docker.io/library/nginx:1.27`. */
  readonly image: string;
  /** With the digest, such as `docker.io/library/nginx@sha256:…`; empty until it is known. */
  readonly imageId: string;
  /** 64 hexadecimal digits; undefined until the container was made. */
  readonly containerId: string | undefined;
}

/** The part of a Kubernetes Pod that attestation needs. */
export interface Pod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly nodeName: string;
  readonly serviceAccountName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly owners: readonly { readonly kind: string; readonly name: string; readonly uid: string }[];
  readonly containers: readonly ContainerStatus[];
  /** Sidecars (init containers that are restarted) among them. */
  readonly initContainers: readonly ContainerStatus[];
  readonly ephemeralContainers: readonly ContainerStatus[];
  /** The UID that the kubelet gave a static pod, which its cgroups carry while the API server's copy has one of its own. */
  readonly staticUid: string | undefined;
}

/** Reads a Pod as the API server or the kubelet sends it; undefined when it is none. What is missing is empty. */
export function readPod(object: unknown): Pod | undefined {
  const { metadata, spec, status } = mapping(object);
  const { uid, namespace, name, labels, annotations, ownerReferences } = mapping(metadata);
  const { nodeName, serviceAccountName } = mapping(spec);
  const { containerStatuses, initContainerStatuses, ephemeralContainerStatuses } = mapping(status);
  if (text(uid) === '' || text(namespace) === '' || text(name) === '') return undefined;
  return {
    uid: text(uid),
    namespace: text(namespace),
    name: text(name),
    nodeName: text(nodeName),
    serviceAccountName: text(serviceAccountName),
    labels: readLabels(labels),
    owners: list(ownerReferences)
      .map(mapping)
      .map((owner) => ({
        kind: text(owner['kind']),
        name: text(owner['name']),
        uid: text(owner['uid']),
      })),
    containers: list(containerStatuses).map(readStatus),
    initContainers: list(initContainerStatuses).map(readStatus),
    ephemeralContainers: list(ephemeralContainerStatuses).map(readStatus),
    staticUid: text(mapping(annotations)['kubernetes.io/config.hash']) || undefined,
  };
}

/** Labels as they are on the wire; values that are no text are left out. */
export function readLabels(labels: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(mapping(labels)).filter((entry): entry is [string, string] => isText(entry[1])));
}

/** Every container of a pod of which something is known. */
export function containersOf(pod: Pod): readonly ContainerStatus[] {
  return [...pod.containers, ...pod.initContainers, ...pod.ephemeralContainers];
}

function readStatus(status: unknown): ContainerStatus {
  const { name, image, imageID, containerID } = mapping(status);
  // `containerd://ID`, `cri-o://ID`, `docker://ID`.
  const [, containerId] = /^[a-z][a-z0-9.+-]*:\/\/([0-9a-f]{64})$/.exec(text(containerID)) ?? [];
  return { name: text(name), image: text(image), imageId: text(imageID), containerId };
}

function mapping(value: unknown): Readonly<Record<string, unknown>> {
  // Sound: every object that is no list may be read by any name, as unknown.
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return isText(value) ? value : '';
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
