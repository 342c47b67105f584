import { readFileSync } from 'node:fs';
import type { Clock } from '../../../core/clock.ts';
import { IdentityError } from '../../../core/errors.ts';
import type { Selector } from '../../cache/selectors.ts';
import type { WorkloadAttestor } from '../attestor.ts';
import { type CgroupEntry, parseCgroups } from '../cgroup.ts';
import { FreshAnswers } from '../fresh-answers.ts';
import type { ProcessImage } from '../process-image.ts';
import { describeContainer, type PodContainer, podContainerOf } from './pod-container.ts';
import type { FoundPod, PodSource } from './pod-index.ts';
import { containerSelectors, labelSelectors, podSelectors } from './selectors.ts';

/** Labels of namespaces, kept current. */
export interface NamespaceSource {
  readonly outage: Error | undefined;
  /** Undefined when the namespace is not known. */
  labelsOf(namespace: string): Readonly<Record<string, string>> | undefined;
  /** Calls `listener` after each change. Returns the function that ends it. */
  subscribe(listener: () => void): () => void;
  close(): void;
}

/** What a `k8s` attestor is made from. */
export interface K8sAttestorOptions {
  readonly clock: Clock;
  readonly pods: PodSource;
  /** Gives `ns-label` selectors; without it there are none. */
  readonly namespaces?: NamespaceSource | undefined;
  /** Attests a process by its pod alone as long as the pod's status does not name its container, without waiting. */
  readonly disableContainerSelectors?: boolean | undefined;
  /** How long a container that is not known yet is waited for. */
  readonly waitForMs: number;
  /** The agent's own cgroups; read from `/proc/self/cgroup` unless given. */
  readonly ownCgroups?: readonly CgroupEntry[];
  /** Closes what the sources share. */
  readonly onClose?: () => void;
}

/**
 * Selectors of the pod and the container that a process runs in, as SPIRE's `k8s` attestor has them. The container is told by
 * the process's cgroup, and the status of the pod must name it. A container that started a moment ago is waited for.
 */
export function createK8sAttestor(options: K8sAttestorOptions): WorkloadAttestor {
  return new K8sAttestor(options);
}

class K8sAttestor implements WorkloadAttestor {
  readonly name = 'k8s';
  readonly needsCgroups = true;
  readonly #options: K8sAttestorOptions;
  readonly #own: readonly CgroupEntry[];
  /** Callers of one container share the wait for it. */
  readonly #waits: FreshAnswers<readonly Selector[]>;

  constructor(options: K8sAttestorOptions) {
    this.#options = options;
    this.#own = options.ownCgroups ?? parseCgroups(readFileSync('/proc/self/cgroup', 'utf8'));
    this.#waits = new FreshAnswers({ clock: options.clock, freshForMs: 0 });
  }

  get freshForMs(): number {
    return this.#options.pods.freshForMs;
  }

  get timeoutMs(): number {
    // The wait has a limit of its own, with a better text.
    return this.#options.waitForMs + 1000;
  }

  attest(image: ProcessImage): readonly Selector[] | Promise<readonly Selector[]> {
    const container = podContainerOf(image.cgroups, this.#own);
    if (container === undefined) return [];
    const known = this.#lookUp(container);
    if (known !== undefined) return known;
    return this.#waits.get(`${container.podUid} ${container.containerId}`, () => this.#waitFor(container));
  }

  close(): void {
    this.#options.pods.close();
    this.#options.namespaces?.close();
    this.#options.onClose?.();
  }

  #lookUp(wanted: PodContainer): readonly Selector[] | undefined {
    const { pods, namespaces, disableContainerSelectors } = this.#options;
    const found = pods.find(wanted);
    if (found === undefined || (found.container === undefined && !disableContainerSelectors)) return undefined;
    const labels = namespaces === undefined ? {} : namespaces.labelsOf(found.pod.namespace);
    return labels === undefined ? undefined : this.#selectors(found, labels);
  }

  #selectors({ pod, container }: FoundPod, namespaceLabels: Readonly<Record<string, string>>): readonly Selector[] {
    const ofContainer = container === undefined || this.#options.disableContainerSelectors ? [] : containerSelectors(container);
    return [...podSelectors(pod), ...ofContainer, ...labelSelectors('ns-label', namespaceLabels)];
  }

  /** Looks again whenever something changes, until the time is over. */
  #waitFor(wanted: PodContainer): Promise<readonly Selector[]> {
    const { clock, pods, namespaces, waitForMs } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<readonly Selector[]>();
    const look = (): void => {
      try {
        const known = this.#lookUp(wanted);
        if (known !== undefined) resolve(known);
      } catch (error) {
        reject(error);
      }
    };
    const timer = clock.setTimer(waitForMs, () => reject(this.#unknown(wanted)));
    const endings = [pods.subscribe(look), namespaces?.subscribe(look), () => timer.cancel()];
    return promise.finally(() => {
      for (const end of endings) end?.();
    });
  }

  #unknown(wanted: PodContainer): IdentityError {
    const { pods, namespaces, waitForMs } = this.#options;
    const [what, after] = [describeContainer(wanted), `after ${waitForMs / 1000} s`];
    const cause = pods.outage ?? namespaces?.outage;
    if (cause === undefined) {
      const why = `${pods.name} tells of no such container on this node`;
      return new IdentityError('permission_denied', `the caller runs in ${what}; ${after} ${why}`);
    }
    const why = `nothing is heard of it: ${cause.message}`;
    return new IdentityError('unavailable', `the caller runs in ${what}; ${after} ${why}`, { cause });
  }
}
