import type { Clock } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import type { IdentityDeclaration } from '../../crds/identity-declaration.ts';
import type { DeclarationPreview, DryRun, NodeRecord, PodRecord, Problem } from '../ports.ts';
import { Turns } from '../turns.ts';
import { compileDeclaration } from './compiled-declaration.ts';
import { checkDeclaration } from './declaration-rules.ts';
import { createDeclarationState } from './declaration-store.ts';
import type { IdentityIndex } from './identity-index.ts';
import type { IdentitySettings } from './settings.ts';
import type { DeclarationState, Outcome } from './state.ts';

/** What {@link Preview} needs. */
export interface PreviewOptions {
  readonly index: IdentityIndex;
  readonly settings: IdentitySettings;
  /** Reads a whole pod and its node; undefined when one of them is gone. */
  readonly readWhole: (pod: PodRecord) => Promise<{ readonly pod: PodRecord; readonly node: NodeRecord } | undefined>;
  readonly clock: Clock;
}

/** Pods that are rendered from what is kept of them, and pods that are read from the source for it. */
const MAX_PODS = 2_000;
const MAX_READ = 20;
/** Problems of each kind that are told; more of the same help nobody. */
const MAX_PROBLEMS = 5;
/** How long it looks at pods: an update may ask twice, and a webhook has to answer. */
const MAX_MS = 1_000;

/** Tells what a declaration would do, without doing it. */
export class Preview implements DeclarationPreview {
  readonly #options: PreviewOptions;
  readonly #turns: Turns;

  constructor(options: PreviewOptions) {
    this.#options = options;
    this.#turns = new Turns(options.clock);
  }

  async dryRun(declaration: IdentityDeclaration, signal?: AbortSignal): Promise<DryRun> {
    const { index, settings, clock } = this.#options;
    const endMs = clock.monotonicMs() + MAX_MS;
    const ended = Promise.withResolvers<undefined>();
    const end = (): void => ended.resolve(undefined);
    const timer = clock.setTimer(MAX_MS, end);
    signal?.addEventListener('abort', end, { once: true });
    await this.#turns.next();
    try {
      checkDeclaration(declaration, settings);
      const state = createDeclarationState(compileDeclaration(declaration));
      const pods = Array.from(index.podsSelectedBy(state), ({ record }) => record);
      const isEnough = (): boolean => signal?.aborted === true || clock.monotonicMs() >= endMs;
      return await this.#look(state, { pods, isEnough, ended: ended.promise });
    } catch (error) {
      if (!isIdentityError(error)) throw error;
      const reason = error.code === 'permission_denied' ? 'NotAllowed' : 'Invalid';
      return { problems: [{ reason, message: error.message }], podsSelected: 0, podsPassedOver: 0 };
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', end);
    }
  }

  async #look(state: DeclarationState, { pods, isEnough, ended }: Looking): Promise<DryRun> {
    const found = new Found();
    const reads = { left: MAX_READ, ended };
    let looked = 0;
    let isOver = await this.#turns.next();
    for (const pod of pods.slice(0, MAX_PODS)) {
      if (found.isFull || isEnough()) break;
      if (isOver()) isOver = await this.#turns.next();
      const outcome = this.#options.index.previewOf(state, pod, undefined) ?? (await this.#outcomeOfWhole(state, pod, reads));
      const problem = outcome && this.#problemOf(outcome);
      if (problem !== undefined) found.add(problem);
      looked += 1;
    }
    return { problems: found.problems, podsSelected: pods.length, podsPassedOver: found.isFull ? 0 : pods.length - looked };
  }

  /** What it would make of a pod of which too little is kept. */
  async #outcomeOfWhole(state: DeclarationState, pod: PodRecord, reads: Reads): Promise<Outcome | undefined> {
    if (pod.nodeName === undefined || reads.left === 0) return undefined;
    reads.left -= 1;
    const whole = await Promise.race([this.#options.readWhole(pod), reads.ended]);
    return whole && this.#options.index.previewOf(state, whole.pod, whole.node);
  }

  #problemOf(outcome: Outcome): Problem | undefined {
    if (outcome.kind === 'failure') return outcome.problem;
    return outcome.kind === 'entry' ? this.#options.index.rivalryOf(outcome.claim) : undefined;
  }
}

interface Looking {
  readonly pods: readonly PodRecord[];
  /** Whether to stop before all pods have been looked at. */
  readonly isEnough: () => boolean;
  /** Settles when there is no more time to wait for anything. */
  readonly ended: Promise<undefined>;
}

interface Reads {
  left: number;
  readonly ended: Promise<undefined>;
}

/** Some problems of each kind. */
class Found {
  readonly problems: Problem[] = [];
  readonly #counts = new Map<string, number>();

  /** Whether enough is known to refuse the declaration. */
  get isFull(): boolean {
    return this.problems.filter(({ reason }) => !isWarning(reason)).length >= MAX_PROBLEMS;
  }

  add(problem: Problem): void {
    const count = (this.#counts.get(problem.reason) ?? 0) + 1;
    this.#counts.set(problem.reason, count);
    if (count <= MAX_PROBLEMS) this.problems.push(problem);
  }
}

/** Whether a problem is worth knowing and may be what is wanted: it refuses nothing. */
export function isWarning(reason: string): boolean {
  return reason === 'Masked' || reason === 'Displaces';
}
