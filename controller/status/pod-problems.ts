import { sleep, type Clock } from '../../core/clock.ts';
import type { IdentityIndex } from '../identity/identity-index.ts';
import type { ObjectRef, Problem } from '../ports.ts';

/** What {@link PodProblems} needs. */
export interface PodProblemsOptions {
  readonly index: Pick<IdentityIndex, 'problemsOfPod' | 'pod'>;
  readonly clock: Clock;
  /** Tells whoever looks at the pod. */
  readonly tell: (pod: ObjectRef, problem: Problem) => void;
}

const EVERY_MS = 1_000;
/** Every pod waits for its node for a moment. */
const UNSCHEDULED_MS = 30_000;

/** Tells of each pod why it got no identity that something declares for it; each reason once. */
export class PodProblems {
  readonly #options: PodProblemsOptions;
  readonly #changed = new Set<string>();
  /** What has been told, by pod. */
  readonly #told = new Map<string, ReadonlySet<string>>();
  /** Since when a pod waits for something, in monotonic milliseconds. */
  readonly #waiting = new Map<string, number>();

  constructor(options: PodProblemsOptions) {
    this.#options = options;
  }

  /** Has these pods looked at; those that are gone are forgotten. */
  mark(pods: Iterable<string>): void {
    for (const pod of pods) {
      if (this.#options.index.pod(pod) !== undefined) this.#changed.add(pod);
      else this.#forget(pod);
    }
  }

  #forget(pod: string): void {
    this.#changed.delete(pod);
    this.#told.delete(pod);
    this.#waiting.delete(pod);
  }

  /** Tells until the signal aborts. To be run by one process at a time. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#tellChanged();
      await sleep(this.#options.clock, EVERY_MS, signal).catch(() => {});
    }
  }

  #tellChanged(): void {
    const nowMs = this.#options.clock.monotonicMs();
    const pods = [...this.#changed];
    this.#changed.clear();
    for (const pod of pods) this.#look(pod, nowMs);
  }

  #look(pod: string, nowMs: number): void {
    const { index, tell } = this.#options;
    const record = index.pod(pod);
    const problems = record === undefined ? [] : index.problemsOfPod(pod);
    const ripe = problems.filter((problem) => this.#isRipe(pod, problem, nowMs));
    if (!problems.some(isWaiting)) this.#waiting.delete(pod);
    const texts = ripe.map(({ reason, message }) => `${reason} ${message}`);
    const told = this.#told.get(pod) ?? new Set();
    for (const [index_, problem] of ripe.entries()) {
      if (record === undefined || told.has(texts[index_] ?? '')) continue;
      tell({ kind: 'Pod', namespace: record.namespace, name: record.name, uid: record.uid }, problem);
    }
    if (texts.length === 0) this.#told.delete(pod);
    else this.#told.set(pod, new Set(texts));
  }

  #isRipe(pod: string, problem: Problem, nowMs: number): boolean {
    if (!isWaiting(problem)) return true;
    const sinceMs = this.#waiting.get(pod) ?? nowMs;
    this.#waiting.set(pod, sinceMs);
    if (nowMs - sinceMs >= UNSCHEDULED_MS) return true;
    this.#changed.add(pod);
    return false;
  }
}

function isWaiting({ reason }: Problem): boolean {
  return reason === 'NotScheduled' || reason === 'NodeUnknown' || reason === 'Loading';
}
