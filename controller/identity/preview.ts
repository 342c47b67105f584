import { isIdentityError } from '../../core/errors.ts';
import type { IdentityDeclaration } from '../../crds/identity-declaration.ts';
import { refText, type DeclarationPreview, type NodeRecord, type PodRecord, type Problem } from '../ports.ts';
import { compileDeclaration } from './compiled-declaration.ts';
import { checkDeclaration } from './declaration-rules.ts';
import { createDeclarationState } from './declaration-store.ts';
import type { IdentityIndex } from './identity-index.ts';
import type { DeclarationState, Outcome } from './state.ts';
import type { IdentitySettings } from './settings.ts';

/** What {@link Preview} needs. */
export interface PreviewOptions {
  readonly index: IdentityIndex;
  readonly settings: IdentitySettings;
  /** Reads a whole pod and its node; undefined when one of them is gone. */
  readonly readWhole: (pod: PodRecord) => Promise<{ readonly pod: PodRecord; readonly node: NodeRecord } | undefined>;
}

/** Pods that are rendered from what is kept of them, and pods that are read from the source for it. */
const MAX_PODS = 2_000;
const MAX_READ = 20;
/** Problems that are told; more of the same kind help nobody. */
const MAX_PROBLEMS = 5;

/** Tells what a declaration would do, without doing it. */
export class Preview implements DeclarationPreview {
  readonly #options: PreviewOptions;

  constructor(options: PreviewOptions) {
    this.#options = options;
  }

  podsSelectedBy(declaration: IdentityDeclaration): readonly string[] {
    const state = createDeclarationState(compileDeclaration(declaration));
    return Iterator.from(this.#options.index.podsSelectedBy(state))
      .map(({ key }) => key)
      .toArray();
  }

  async dryRun(declaration: IdentityDeclaration): Promise<readonly Problem[]> {
    const { index, settings } = this.#options;
    try {
      checkDeclaration(declaration, settings);
      const state = createDeclarationState(compileDeclaration(declaration));
      const pods = Iterator.from(index.podsSelectedBy(state)).take(MAX_PODS).toArray();
      return await this.#problems(
        state,
        pods.map(({ record }) => record),
      );
    } catch (error) {
      if (!isIdentityError(error)) throw error;
      return [{ reason: error.code === 'permission_denied' ? 'NotAllowed' : 'Invalid', message: error.message }];
    }
  }

  async #problems(state: DeclarationState, pods: readonly PodRecord[]): Promise<readonly Problem[]> {
    const problems: Problem[] = [];
    let reads = 0;
    for (const pod of pods) {
      if (problems.length === MAX_PROBLEMS) break;
      let outcome = this.#options.index.previewOf(state, pod, undefined);
      if (outcome === undefined && pod.nodeName !== undefined && reads < MAX_READ) {
        reads += 1;
        const whole = await this.#options.readWhole(pod);
        outcome = whole && this.#options.index.previewOf(state, whole.pod, whole.node);
      }
      const problem = outcome && this.#problemOf(outcome);
      if (problem !== undefined) problems.push(problem);
    }
    return problems;
  }

  #problemOf(outcome: Outcome): Problem | undefined {
    if (outcome.kind === 'failure') return outcome.problem;
    if (outcome.kind !== 'entry') return undefined;
    const rival = this.#options.index.rivalOf(outcome.claim);
    if (rival === undefined) return undefined;
    const message = `${refText(rival)}, which is older, declares the same entry (${outcome.claim.entry.spiffeId}), so its settings would hold`;
    return { reason: 'Masked', message, pod: outcome.claim.pod };
  }
}
