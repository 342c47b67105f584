import type { Clock } from '../../../core/clock.ts';
import { IdentityError } from '../../../core/errors.ts';
import type { KubeClient } from '../../../runtime/kubernetes/client.ts';
import { NAMESPACES, PODS, type ResourceType } from '../../../runtime/kubernetes/resource-types.ts';
import { type ResourceWatch, watchResource } from '../../../runtime/kubernetes/watch.ts';
import type { KubeObject } from '../../../runtime/kubernetes/object.ts';
import type { Logger } from '../../../runtime/log.ts';
import type { NamespaceSource } from './attestor.ts';
import { type Pod, readLabels, readPod } from './pod.ts';
import type { PodContainer } from './pod-container.ts';
import { type FoundPod, PodIndex, type PodSource } from './pod-index.ts';

// Every change arrives by itself; this bounds how long a caller that keeps its connection keeps an answer.
const FRESH_FOR_MS = 1000;

/** What the watches need. */
export interface WatchedOptions {
  /** Opens the client; called once, at the start. */
  readonly client: Promise<KubeClient>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** One kind of object that is watched, and who wants to know of each change. */
class Watched {
  readonly #stopped = new AbortController();
  readonly #listeners = new Set<() => void>();
  #watch: ResourceWatch | undefined;
  #failure: Error | undefined;

  start<T>(options: WatchedOptions, what: Target<T>): void {
    options.client.then(
      (client) => this.#follow(client, options, what),
      (error: unknown) => {
        this.#failure = error instanceof Error ? error : new Error(String(error));
      },
    );
  }

  get outage(): Error | undefined {
    if (this.#failure !== undefined) return this.#failure;
    if (this.#watch === undefined) return new IdentityError('unavailable', 'the API server has not been asked yet');
    const outage = this.#watch.outage.value;
    return outage === undefined ? undefined : new IdentityError('unavailable', outage.reason);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#stopped.abort();
    this.#listeners.clear();
  }

  #follow<T>(client: KubeClient, { clock, log }: WatchedOptions, { put, remove, trim, type, fieldSelector }: Target<T>): void {
    const { signal } = this.#stopped;
    if (signal.aborted) return;
    const changed = (): void => {
      for (const listener of this.#listeners) listener();
    };
    const handler = {
      put: (value: T, key: string): void => {
        put(value, key);
        changed();
      },
      remove: (key: string): void => {
        remove(key);
        changed();
      },
      synced: changed,
    };
    const selection = fieldSelector === undefined ? {} : { fieldSelector };
    this.#watch = watchResource({ client, type, ...selection, trim, handler, clock, log, signal });
    // It rejects only when it is closed before the first list is complete.
    this.#watch.synced.catch(() => {});
  }
}

interface Target<T> {
  readonly type: ResourceType;
  readonly fieldSelector?: string;
  readonly trim: (object: KubeObject) => T;
  readonly put: (value: T, key: string) => void;
  readonly remove: (key: string) => void;
}

/** The pods of one node, as the API server tells them: it sends each change by itself. */
export function watchPods(options: WatchedOptions, nodeName: string): PodSource {
  const index = new PodIndex();
  const watched = new Watched();
  const put = (pod: Pod | undefined, key: string): void => (pod === undefined ? index.remove(key) : index.put(key, pod));
  const remove = (key: string): void => index.remove(key);
  watched.start(options, { type: PODS, fieldSelector: `spec.nodeName=${nodeName}`, trim: readPod, put, remove });
  return {
    name: 'the API server',
    freshForMs: FRESH_FOR_MS,
    get outage() {
      return watched.outage;
    },
    find: (container: PodContainer): FoundPod | undefined => index.find(container),
    subscribe: (listener) => watched.subscribe(listener),
    close: () => watched.close(),
  };
}

/** The labels of all namespaces. */
export function watchNamespaces(options: WatchedOptions): NamespaceSource {
  const labels = new Map<string, Readonly<Record<string, string>>>();
  const watched = new Watched();
  const trim = ({ metadata }: KubeObject): Readonly<Record<string, string>> => readLabels(metadata.labels);
  const put = (value: Readonly<Record<string, string>>, key: string): void => void labels.set(key, value);
  watched.start(options, { type: NAMESPACES, trim, put, remove: (key) => void labels.delete(key) });
  return {
    get outage() {
      return watched.outage;
    },
    labelsOf: (namespace) => labels.get(namespace),
    subscribe: (listener) => watched.subscribe(listener),
    close: () => watched.close(),
  };
}
