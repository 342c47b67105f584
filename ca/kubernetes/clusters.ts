import type { Clock } from '../../core/clock.ts';
import type { InClusterEnvironment } from '../../runtime/kubernetes/access.ts';
import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Cluster } from './cluster.ts';
import type { Clusters } from './config.ts';

/** What {@link KubeClients} needs. */
export interface KubeClientsOptions {
  /** Where the API server of the CA's own pod is; undefined outside a cluster. */
  readonly inCluster: InClusterEnvironment | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The clients of the API servers that the CA asks: one for each kubeconfig, one for its own cluster. */
export class KubeClients implements Disposable {
  readonly #options: KubeClientsOptions;
  readonly #clients = new Map<string, Promise<KubeClient>>();

  constructor(options: KubeClientsOptions) {
    this.#options = options;
  }

  /** @throws IdentityError `invalid_argument` for an unusable kubeconfig, `failed_precondition` when no API server is known */
  async open(kubeconfigFile: string | undefined): Promise<KubeClient> {
    // Loaded here: most of it is of no use to a CA outside of Kubernetes.
    const { openKubeClient } = await import('../../runtime/kubernetes/client.ts');
    const key = kubeconfigFile ?? '';
    const known = this.#clients.get(key);
    if (known !== undefined) return known;
    const options = { ...this.#options, userAgent: 'countersign-ca' };
    const client = openKubeClient(kubeconfigFile === undefined ? options : { ...options, kubeconfigFile });
    this.#clients.set(key, client);
    return client;
  }

  /** The configured clusters, each with its client and what is configured for it. */
  async clusters<T extends { readonly kubeconfigFile: string | undefined }>(
    configured: Clusters<T> | undefined,
  ): Promise<Clusters<T & { readonly cluster: Cluster }>> {
    const opened = [...(configured ?? [])].map(async ([name, config]) => {
      const api = await this.open(config.kubeconfigFile);
      return [name, { ...config, cluster: { name, api } }] as const;
    });
    return new Map(await Promise.all(opened));
  }

  [Symbol.dispose](): void {
    for (const client of this.#clients.values()) client.then((opened) => opened[Symbol.dispose]()).catch(() => {});
  }
}
