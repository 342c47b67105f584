import type { EndpointsRecord, ServiceRecord } from '../ports.ts';

/** Services, and which pods are behind them. */
export class ServiceStore {
  readonly #services = new Map<string, ServiceRecord>();
  readonly #slices = new Map<string, EndpointsRecord>();
  /** The slices that name a pod. */
  readonly #slicesOfPod = new Map<string, Set<EndpointsRecord>>();

  /** Whether there is a Service of this key, `namespace/name`. */
  has(key: string): boolean {
    return this.#services.has(key);
  }

  /** @returns whether it is new */
  put(key: string, service: ServiceRecord): boolean {
    const isNew = !this.#services.has(key);
    this.#services.set(key, service);
    return isNew;
  }

  remove(key: string): ServiceRecord | undefined {
    const removed = this.#services.get(key);
    this.#services.delete(key);
    return removed;
  }

  /** The names of the Services that a pod is behind, sorted. */
  ofPod(uid: string, namespace: string): readonly string[] {
    const slices = this.#slicesOfPod.get(uid);
    if (slices === undefined) return [];
    const names = [...slices].filter((slice) => slice.namespace === namespace).map(({ service }) => service);
    return [...new Set(names)].sort();
  }

  /** @returns the UIDs of the pods that came or went */
  putEndpoints(key: string, slice: EndpointsRecord): ReadonlySet<string> {
    const before = this.#slices.get(key);
    if (before !== undefined) this.#unlink(before);
    this.#slices.set(key, slice);
    for (const uid of slice.podUids) {
      const slices = this.#slicesOfPod.get(uid);
      if (slices === undefined) this.#slicesOfPod.set(uid, new Set([slice]));
      else slices.add(slice);
    }
    const old = new Set(before?.podUids);
    return before?.service === slice.service
      ? old.symmetricDifference(new Set(slice.podUids))
      : old.union(new Set(slice.podUids));
  }

  /** @returns the UIDs of the pods that went */
  removeEndpoints(key: string): ReadonlySet<string> {
    const before = this.#slices.get(key);
    if (before === undefined) return new Set();
    this.#slices.delete(key);
    this.#unlink(before);
    return new Set(before.podUids);
  }

  #unlink(slice: EndpointsRecord): void {
    for (const uid of slice.podUids) {
      const slices = this.#slicesOfPod.get(uid);
      slices?.delete(slice);
      if (slices?.size === 0) this.#slicesOfPod.delete(uid);
    }
  }
}
