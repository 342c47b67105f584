import type { Clock } from '../core/clock.ts';
import type { IdentityIndex } from './identity/identity-index.ts';

/** Measures how long it takes from the moment when a pod is seen on a node until its entry is at the CA. */
export class PodLatency {
  readonly #clock: Clock;
  readonly #observe: (seconds: number) => void;
  /** When each pod was seen that waits for its entry, in monotonic milliseconds. */
  readonly #seen = new Map<string, number>();
  #isMeasuring = false;

  constructor(clock: Clock, observe: (seconds: number) => void) {
    this.#clock = clock;
    this.#observe = observe;
  }

  /** From now on pods are new ones. */
  start(): void {
    this.#isMeasuring = true;
  }

  stop(): void {
    this.#isMeasuring = false;
    this.#seen.clear();
  }

  /** A pod has come to be on a node. */
  placed(pod: string): void {
    if (this.#isMeasuring) this.#seen.set(pod, this.#clock.monotonicMs());
  }

  removed(pod: string): void {
    this.#seen.delete(pod);
  }

  /** An entry of the pod has been made. */
  created(pod: string): void {
    const sinceMs = this.#seen.get(pod);
    if (sinceMs === undefined) return;
    this.#seen.delete(pod);
    this.#observe((this.#clock.monotonicMs() - sinceMs) / 1000);
  }

  /** Pods that nothing declares an entry for are not waiting. */
  forgetUndeclared(index: Pick<IdentityIndex, 'pod' | 'entriesOfPod'>): void {
    for (const key of this.#seen.keys()) {
      const uid = index.pod(key)?.uid;
      if (uid === undefined || index.entriesOfPod(uid).length === 0) this.#seen.delete(key);
    }
  }
}
