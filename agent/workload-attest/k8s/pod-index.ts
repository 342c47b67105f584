import { IdentityError } from '../../../core/errors.ts';
import { type ContainerStatus, containersOf, type Pod } from './pod.ts';
import { describeContainer, type PodContainer } from './pod-container.ts';

/** A pod and, where its status names it, the container that was looked for. */
export interface FoundPod {
  readonly pod: Pod;
  readonly container: ContainerStatus | undefined;
}

/** Where the pods of this node come from: the API server or the kubelet. */
export interface PodSource {
  /** How it is called in messages, such as `the API server`. */
  readonly name: string;
  /** How long an answer may be repeated without looking again, in milliseconds. */
  readonly freshForMs: number;
  /** Why nothing is heard from it at present. */
  readonly outage: Error | undefined;
  /**
   * The pod that holds a container, as known now; undefined when it is not known, or not lately enough.
   *
   * @throws IdentityError `permission_denied` when what is known contradicts the cgroup
   */
  find(container: PodContainer): FoundPod | undefined;
  /** Calls `listener` whenever `find` may answer otherwise than before. Returns the function that ends it. */
  subscribe(listener: () => void): () => void;
  close(): void;
}

/** Pods of one node by the containers in their status. Plain state: whoever feeds it says what changed. */
export class PodIndex {
  readonly #pods = new Map<string, Pod>();
  readonly #byContainer = new Map<string, Set<Pod>>();

  get size(): number {
    return this.#pods.size;
  }

  /** Puts a pod in place of the one that had this key, if any. */
  put(key: string, pod: Pod): void {
    this.remove(key);
    this.#pods.set(key, pod);
    for (const { containerId } of containersOf(pod)) {
      if (containerId === undefined) continue;
      const holders = this.#byContainer.get(containerId);
      if (holders === undefined) this.#byContainer.set(containerId, new Set([pod]));
      else holders.add(pod);
    }
  }

  remove(key: string): void {
    const pod = this.#pods.get(key);
    if (pod === undefined) return;
    this.#pods.delete(key);
    for (const { containerId } of containersOf(pod)) {
      const holders = containerId === undefined ? undefined : this.#byContainer.get(containerId);
      holders?.delete(pod);
      if (containerId !== undefined && holders?.size === 0) this.#byContainer.delete(containerId);
    }
  }

  /** The pod with the container, else the pod with the UID alone. Throws as {@link PodSource.find}. */
  find(wanted: PodContainer): FoundPod | undefined {
    const holders = [...(this.#byContainer.get(wanted.containerId) ?? [])];
    const [pod, second] = holders;
    if (second !== undefined) throw refusal(wanted, 'two pods claim it');
    if (pod === undefined) return this.#byUid(wanted.podUid);
    if (!isNamed(pod, wanted.podUid)) throw refusal(wanted, `it belongs to the pod ${pod.namespace}/${pod.name}`);
    return { pod, container: containersOf(pod).find(({ containerId }) => containerId === wanted.containerId) };
  }

  #byUid(uid: string | undefined): FoundPod | undefined {
    if (uid === undefined) return undefined;
    for (const pod of this.#pods.values()) if (isNamed(pod, uid)) return { pod, container: undefined };
    return undefined;
  }
}

/** Whether a cgroup with this UID is the pod's; a path without UID is told by the container alone. */
function isNamed(pod: Pod, uid: string | undefined): boolean {
  return uid === undefined || uid === pod.uid || uid === pod.staticUid;
}

function refusal(wanted: PodContainer, why: string): IdentityError {
  return new IdentityError('permission_denied', `the cgroup names ${describeContainer(wanted)}, but ${why}`);
}
