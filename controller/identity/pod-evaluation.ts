import { isIdentityError } from '../../core/errors.ts';
import type { NodeRecord, PodRecord, Problem } from '../ports.ts';
import { Budget } from '../template/budget.ts';
import type { DeclarationStore } from './declaration-store.ts';
import type { NamespaceStore } from './namespace-store.ts';
import type { NodeStore } from './node-store.ts';
import { SUSPENDED_MESSAGE } from './render-account.ts';
import { renderPodEntry } from './render-entry.ts';
import type { ServiceStore } from './service-store.ts';
import type { IdentitySettings } from './settings.ts';
import type { DeclarationState, Outcome, PodState } from './state.ts';
import { covers } from './trim.ts';

/** What {@link PodEvaluation} looks at. */
export interface PodEvaluationOptions {
  readonly settings: IdentitySettings;
  readonly namespaces: Pick<NamespaceStore, 'isIgnored'>;
  readonly nodes: Pick<NodeStore, 'get'>;
  readonly services: Pick<ServiceStore, 'ofPod'>;
  readonly declarations: Pick<DeclarationStore, 'selecting'>;
}

/** What a pod's entry needs to be known of its node. */
interface Place {
  readonly node: NodeRecord;
  readonly parentId: string;
}

/** Says what the declarations make of a pod, from all that is known; changes nothing. */
export class PodEvaluation {
  readonly #options: PodEvaluationOptions;

  constructor(options: PodEvaluationOptions) {
    this.#options = options;
  }

  /** One outcome for each declaration that selects the pod; fallbacks only count where nothing else gives it an identity. */
  outcomesOf(pod: PodState): readonly Outcome[] {
    const { namespaces, declarations } = this.#options;
    const { namespace, labels } = pod.record;
    if (namespaces.isIgnored(namespace)) return [];
    const selecting = declarations.selecting(namespace, labels);
    const outcomes = selecting.filter((state) => !isFallback(state)).map((state) => this.#outcomeOf(pod, state));
    const isIdentified = outcomes.some(({ kind }) => kind === 'entry');
    for (const declaration of selecting.filter(isFallback)) {
      outcomes.push(isIdentified ? { kind: 'yielded', declaration } : this.#outcomeOf(pod, declaration));
    }
    return outcomes;
  }

  /**
   * What a declaration would make of a pod, given the whole pod and node where what is kept of them is too little.
   *
   * @returns undefined when it cannot be said: the pod is not on a node, or more of it must be given
   */
  previewOf(declaration: DeclarationState, pod: PodRecord, node: NodeRecord | undefined): Outcome | undefined {
    const known = pod.nodeName === undefined ? undefined : this.#options.nodes.get(pod.nodeName);
    const on = node ?? known?.record;
    if (on === undefined || known?.parentId === undefined || !isEnough(declaration, pod, on)) return undefined;
    const state: PodState = { key: `${pod.namespace}/${pod.name}`, record: pod, outcomes: [] };
    return this.#render(state, declaration, { node: on, parentId: known.parentId });
  }

  #outcomeOf(pod: PodState, declaration: DeclarationState): Outcome {
    const { record, key } = pod;
    const waiting = (reason: string, message: string): Outcome => {
      return { kind: 'waiting', declaration, problem: { reason, message, pod: key } };
    };
    if (record.nodeName === undefined) {
      return waiting('NotScheduled', 'the pod is not on a node yet; it gets its identity when the scheduler has bound it');
    }
    const node = this.#options.nodes.get(record.nodeName);
    if (node === undefined || !isEnough(declaration, record, node.record)) {
      // What is there stays until everything is known.
      const present = presentEntry(pod, declaration);
      if (present !== undefined) return present;
      if (node === undefined) return waiting('NodeUnknown', `the node ${record.nodeName} is not known (yet)`);
      return waiting('Loading', 'the parts of the pod that the template reads are being loaded');
    }
    const { parentId, problem } = node;
    if (parentId === undefined) return { kind: 'failure', declaration, problem: { ...PARENT_PROBLEM, ...problem, pod: key } };
    return this.#render(pod, declaration, { node: node.record, parentId });
  }

  #render(pod: PodState, declaration: DeclarationState, place: Place): Outcome {
    const { services, settings } = this.#options;
    const { key, record } = pod;
    if (declaration.account.isExhausted) {
      return presentEntry(pod, declaration) ?? failure(key, declaration, SUSPENDED_MESSAGE);
    }
    const budget = new Budget();
    try {
      const input = { ...place, pod: record, services: services.ofPod(record.uid, record.namespace), budget };
      const entry = renderPodEntry(declaration.compiled, input, settings);
      return { kind: 'entry', declaration, claim: { entry, declarer: declaration, pod: key } };
    } catch (error) {
      // Whatever a template does to one pod, the others get their entries.
      const message = isIdentityError(error) ? error.message : 'the template could not be rendered: an internal error';
      return failure(key, declaration, message);
    } finally {
      declaration.account.charge(budget.spent);
    }
  }
}

function failure(pod: string, declaration: DeclarationState, message: string): Outcome {
  return { kind: 'failure', declaration, problem: { reason: 'RenderFailed', message, pod } };
}

const PARENT_PROBLEM: Problem = { reason: 'RenderFailed', message: 'the parent ID of the node cannot be rendered' };

function isFallback({ compiled }: DeclarationState): boolean {
  return compiled.declaration.fallback;
}

/** Whether all that the templates read was kept. */
function isEnough({ compiled: { needs } }: DeclarationState, pod: PodRecord, node: NodeRecord): boolean {
  return covers(pod.object.trim, needs.pod) && covers(node.object.trim, needs.node);
}

/** The entry that an object of this name has declared for the pod so far. */
function presentEntry(pod: PodState, declaration: DeclarationState): Outcome | undefined {
  const entry = pod.outcomes.find((outcome) => outcome.declaration.key === declaration.key && outcome.kind === 'entry');
  if (entry?.kind !== 'entry') return undefined;
  return { kind: 'entry', declaration, claim: { ...entry.claim, declarer: declaration } };
}
