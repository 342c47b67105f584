import type { Clock, Timer } from '../../../core/clock.ts';
import { readPod } from './pod.ts';
import type { PodContainer } from './pod-container.ts';
import { type FoundPod, PodIndex, type PodSource } from './pod-index.ts';

// What the kubelet said holds for as long as this; a container's identity never changes, labels of its pod may.
const FRESH_FOR_MS = 5000;
// While somebody waits for a container. The kubelet tells of a new one within a second.
const POLL_MS = 250;

/** Who is asked for the pods of this node; {@link Kubelet} unless a test stands in. */
export interface PodLister {
  pods(signal: AbortSignal): Promise<readonly unknown[]>;
}

/** The pods of this node as the kubelet tells them. It has no watch, so it is asked only while somebody wants to know. */
export class KubeletPods implements PodSource {
  readonly name = 'the kubelet';
  readonly freshForMs = FRESH_FOR_MS;
  readonly #kubelet: PodLister;
  readonly #clock: Clock;
  readonly #stopped = new AbortController();
  readonly #listeners = new Set<() => void>();
  #index = new PodIndex();
  #askedAtMs = -Infinity;
  #outage: Error | undefined;
  #timer: Timer | undefined;
  #isAsking = false;

  constructor(kubelet: PodLister, clock: Clock) {
    this.#kubelet = kubelet;
    this.#clock = clock;
  }

  get outage(): Error | undefined {
    return this.#outage;
  }

  find(container: PodContainer): FoundPod | undefined {
    // What it said last is better than nothing while it does not answer: the process still runs in that container.
    const isFresh = this.#clock.monotonicMs() - this.#askedAtMs < FRESH_FOR_MS;
    return isFresh || this.#outage !== undefined ? this.#index.find(container) : undefined;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#timer === undefined) this.#ask();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#timer?.cancel();
      this.#timer = undefined;
    };
  }

  close(): void {
    this.#stopped.abort();
    this.#timer?.cancel();
    this.#listeners.clear();
  }

  #ask(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    void this.#poll().finally(() => {
      this.#isAsking = false;
      if (this.#listeners.size > 0) this.#askLater();
    });
  }

  #askLater(): void {
    this.#timer = this.#clock.setTimer(POLL_MS, () => {
      this.#timer = undefined;
      this.#ask();
    });
  }

  async #poll(): Promise<void> {
    const askedAtMs = this.#clock.monotonicMs();
    try {
      const pods = await this.#kubelet.pods(this.#stopped.signal);
      this.#index = indexOf(pods);
      this.#askedAtMs = askedAtMs;
      this.#outage = undefined;
    } catch (error) {
      this.#outage = error instanceof Error ? error : new Error(String(error));
    }
    for (const listener of this.#listeners) listener();
  }
}

function indexOf(pods: readonly unknown[]): PodIndex {
  const index = new PodIndex();
  for (const object of pods) {
    const pod = readPod(object);
    if (pod !== undefined) index.put(pod.uid, pod);
  }
  return index;
}
