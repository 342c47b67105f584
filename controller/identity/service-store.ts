import type { EndpointsRecord, ServiceRecord } from '../ports.ts';

/** Services, and which pods are behind them. */
export class ServiceStore {
  readonly #services = new Map<string, ServiceRecord>();
  readonly #slices = new Map<string, EndpointsRecord>();
  readonly #slicesOfService = new Map<string, Set<EndpointsRecord>>();
  /** The slices that name a pod. */
  readonly #slicesOfPod = new Map<string, Set<EndpointsRecord>>();

  /** @returns the UIDs of the pods behind a Service that is new */
  put(key: string, service: ServiceRecord): Iterable<string> {
    const isNew = !this.#services.has(key);
    this.#services.set(key, service);
    return isNew ? this.#podsBehind(service) : [];
  }

  /** @returns the UIDs of the pods that were behind it */
  remove(key: string): Iterable<string> {
    const removed = this.#services.get(key);
    this.#services.delete(key);
    return removed === undefined ? [] : this.#podsBehind(removed);
  }

  #podsBehind({ namespace, name }: ServiceRecord): Iterable<string> {
    return Iterator.from(this.#slicesOfService.get(`${namespace}/${name}`) ?? []).flatMap(({ podUids }) => podUids);
  }

  /** The names of the Services of its own namespace that a pod is behind, sorted. A slice alone makes no Service. */
  ofPod(uid: string, namespace: string): readonly string[] {
    const slices = this.#slicesOfPod.get(uid);
    if (slices === undefined) return [];
    const names = [...slices]
      .filter((slice) => slice.namespace === namespace && this.#services.has(`${namespace}/${slice.service}`))
      .map(({ service }) => service);
    return [...new Set(names)].sort();
  }

  /** @returns the UIDs of the pods that came or went */
  putEndpoints(key: string, slice: EndpointsRecord): ReadonlySet<string> {
    const before = this.#slices.get(key);
    if (before !== undefined) this.#unlink(before);
    this.#slices.set(key, slice);
    link(this.#slicesOfService, `${slice.namespace}/${slice.service}`, slice);
    for (const uid of slice.podUids) link(this.#slicesOfPod, uid, slice);
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
    unlink(this.#slicesOfService, `${slice.namespace}/${slice.service}`, slice);
    for (const uid of slice.podUids) unlink(this.#slicesOfPod, uid, slice);
  }
}

function link(map: Map<string, Set<EndpointsRecord>>, key: string, slice: EndpointsRecord): void {
  const slices = map.get(key);
  if (slices === undefined) map.set(key, new Set([slice]));
  else slices.add(slice);
}

function unlink(map: Map<string, Set<EndpointsRecord>>, key: string, slice: EndpointsRecord): void {
  const slices = map.get(key);
  slices?.delete(slice);
  if (slices?.size === 0) map.delete(key);
}
