import type { V1Pod } from '@kubernetes/client-node';

import { execInPod, type ExecResult } from '../../runtime/kubernetes/exec.ts';
import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { PODS, type ResourceType } from '../../runtime/kubernetes/resource-types.ts';

/** Where the parts of an installation are. */
export interface Installation {
  readonly systemNamespace: string;
  readonly agentNamespace: string;
}

/** A pod of the installation, as far as checks look at it. */
export interface InstalledPod {
  readonly namespace: string;
  readonly name: string;
  readonly nodeName: string;
  readonly ready: boolean;
  readonly images: readonly string[];
  /** Why it is not ready, as Kubernetes says; empty when it is. */
  readonly why: string;
}

/** The cluster as the checks see it. */
export class ClusterAccess {
  readonly client: KubeClient;
  readonly installation: Installation;
  readonly #exec: { readonly kubeconfigFile: string; readonly context?: string | undefined };

  constructor(
    client: KubeClient,
    { installation, ...exec }: { installation: Installation; kubeconfigFile: string; context?: string | undefined },
  ) {
    this.client = client;
    this.installation = installation;
    this.#exec = exec;
  }

  /** Every object of a type. */
  async all<T extends KubeObject>(
    type: ResourceType,
    options: { namespace?: string; labelSelector?: string } = {},
  ): Promise<T[]> {
    const found: T[] = [];
    for await (const { items } of this.client.list<T>(type, options)) found.push(...items);
    return found;
  }

  /** The pods of one part, such as `countersign-ca`. */
  async pods(name: string, namespace: string): Promise<readonly InstalledPod[]> {
    const labelSelector = `app.kubernetes.io/name=${name}`;
    const pods = await this.all<V1Pod & KubeObject>(PODS, { namespace, labelSelector });
    return pods.map(installedPod);
  }

  exec(pod: InstalledPod, container: string, command: readonly string[]): Promise<ExecResult> {
    return execInPod({ ...this.#exec, namespace: pod.namespace, pod: pod.name, container }, command);
  }

  /** What a pod's HTTP listener answers, through the API server. @throws IdentityError when it does not answer 200 */
  http(pod: InstalledPod, port: number, path: string): Promise<{ readonly text: string; readonly dateMs: number | undefined }> {
    return this.client.rawDated(`/api/v1/namespaces/${pod.namespace}/pods/${pod.name}:${port}/proxy${path}`, {
      timeoutMs: 10_000,
    });
  }
}

function installedPod({ metadata, spec, status }: V1Pod): InstalledPod {
  const ready = status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true;
  const waiting = status?.containerStatuses?.find(({ state }) => state?.waiting !== undefined)?.state?.waiting;
  const condition = status?.conditions?.find(({ status: is, message }) => is !== 'True' && message !== undefined);
  const why = waiting === undefined ? (condition?.message ?? `phase ${status?.phase}`) : `${waiting.reason}: ${waiting.message}`;
  return {
    namespace: metadata?.namespace ?? '',
    name: metadata?.name ?? '',
    nodeName: spec?.nodeName ?? '',
    ready,
    images: spec?.containers.map(({ image }) => image ?? '') ?? [],
    why: ready ? '' : why,
  };
}
