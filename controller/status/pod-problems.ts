import { sleep, type Clock, type Timer } from '../../core/clock.ts';
import type { IdentityIndex } from '../identity/identity-index.ts';
import type { ObjectRef, Problem } from '../ports.ts';

/** What {@link PodProblems} needs. */
export interface PodProblemsOptions {
  readonly index: Pick<IdentityIndex, 'problemsOfPod' | 'pod'>;
  readonly clock: Clock;
  /** Tells whoever looks at the pod. */
  readonly tell: (pod: ObjectRef, problem: Problem) => void;
}

/** What is put right at once is not told. */
const COALESCE_MS = 1_000;
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
  /** Those of them that have not waited long enough to be told of; who waits longest comes first. */
  readonly #unripe = new Set<string>();
  #wake: () => void = () => {};

  constructor(options: PodProblemsOptions) {
    this.#options = options;
  }

  /** Has these pods looked at; those that are gone are forgotten. */
  mark(pods: Iterable<string>): void {
    for (const pod of pods) {
      if (this.#options.index.pod(pod) !== undefined) this.#changed.add(pod);
      else this.#forget(pod);
    }
    if (this.#changed.size > 0) this.#wake();
  }

  #forget(pod: string): void {
    this.#changed.delete(pod);
    this.#told.delete(pod);
    this.#stopWaiting(pod);
  }

  #stopWaiting(pod: string): void {
    this.#waiting.delete(pod);
    this.#unripe.delete(pod);
  }

  /** Tells until the signal aborts. To be run by one process at a time. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    while (!signal.aborted) {
      await this.#changes(signal);
      await sleep(this.#options.clock, COALESCE_MS, signal).catch(() => {});
      if (!signal.aborted) this.#tellChanged();
    }
  }

  /** Settles when a pod was marked, or has waited for so long that it is to be told. */
  async #changes(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer = this.#timerOfNextRipe();
    if (this.#changed.size > 0 || signal.aborted) resolve();
    await promise;
    timer?.cancel();
  }

  #timerOfNextRipe(): Timer | undefined {
    const { clock } = this.#options;
    const [next] = this.#unripe;
    if (next === undefined) return undefined;
    const sinceMs = this.#waiting.get(next) ?? clock.monotonicMs();
    return clock.setTimer(sinceMs + UNSCHEDULED_MS - clock.monotonicMs(), () => this.mark([next]));
  }

  #tellChanged(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const pod of this.#unripe) {
      if (!this.#isRipe(pod, nowMs)) break;
      this.#changed.add(pod);
    }
    const pods = [...this.#changed];
    this.#changed.clear();
    for (const pod of pods) this.#look(pod, nowMs);
  }

  #look(pod: string, nowMs: number): void {
    const { index, tell } = this.#options;
    const record = index.pod(pod);
    const problems = record === undefined ? [] : index.problemsOfPod(pod);
    if (problems.some(isWaiting)) this.#waits(pod, nowMs);
    else this.#stopWaiting(pod);
    const ripe = problems.filter((problem) => !isWaiting(problem) || this.#isRipe(pod, nowMs));
    const texts = ripe.map(({ reason, message }) => `${reason} ${message}`);
    const told = this.#told.get(pod) ?? new Set();
    for (const [index_, problem] of ripe.entries()) {
      if (record === undefined || told.has(texts[index_] ?? '')) continue;
      tell({ kind: 'Pod', namespace: record.namespace, name: record.name, uid: record.uid }, problem);
    }
    if (texts.length === 0) this.#told.delete(pod);
    else this.#told.set(pod, new Set(texts));
  }

  #waits(pod: string, nowMs: number): void {
    if (!this.#waiting.has(pod)) {
      this.#waiting.set(pod, nowMs);
      this.#unripe.add(pod);
    }
    if (this.#isRipe(pod, nowMs)) this.#unripe.delete(pod);
  }

  #isRipe(pod: string, nowMs: number): boolean {
    return nowMs - (this.#waiting.get(pod) ?? nowMs) >= UNSCHEDULED_MS;
  }
}

function isWaiting({ reason }: Problem): boolean {
  return reason === 'NotScheduled' || reason === 'NodeUnknown' || reason === 'Loading';
}
