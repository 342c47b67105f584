import type { KubeObject, ObjectName } from '../../runtime/kubernetes/object.ts';
import type { ResourceType } from '../../runtime/kubernetes/resource-types.ts';

interface AskOptions {
  readonly timeoutMs?: number;
}

/** What the CA asks of an API server. A `KubeClient` does it. */
export interface ClusterApi {
  /** @throws IdentityError `not_found` */
  get(type: ResourceType, name: ObjectName, options?: AskOptions): Promise<KubeObject>;
  create(type: ResourceType, object: KubeObject, options?: AskOptions): Promise<KubeObject>;
}

/** A cluster whose pods may prove themselves to the CA. */
export interface Cluster {
  /** As the configuration calls it, and as those who come from it must. */
  readonly name: string;
  readonly api: ClusterApi;
}
