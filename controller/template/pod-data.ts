import { goType } from './go-type.ts';

/** The Go type of the root. */
export const DATA_TYPE = goType('*identitytemplate.Data');

/** A Kubernetes object as its JSON says it; of a pod or a node only these two parts reach a template. */
export interface ObjectParts {
  readonly metadata?: unknown;
  readonly spec?: unknown;
}

/** What {@link templateData} is made of. Without a pod (a parent ID is rendered before one is chosen) its two parts are nil. */
export interface TemplateDataSource {
  readonly trustDomain: string;
  readonly clusterName: string;
  readonly clusterDomain: string;
  readonly pod?: ObjectParts | undefined;
  readonly node?: ObjectParts | undefined;
}

/** The root that a template sees: TrustDomain, ClusterName, ClusterDomain, PodMeta, PodSpec, NodeMeta and NodeSpec. */
export interface TemplateData {
  readonly root: Readonly<Record<string, unknown>>;
}

/** Gives a template the objects under Go's field names. Costs nothing: fields are looked up when they are read. */
export function templateData({ trustDomain, clusterName, clusterDomain, pod, node }: TemplateDataSource): TemplateData {
  const root = {
    TrustDomain: trustDomain,
    ClusterName: clusterName,
    ClusterDomain: clusterDomain,
    PodMeta: pod === undefined ? null : (pod.metadata ?? {}),
    PodSpec: pod === undefined ? null : (pod.spec ?? {}),
    NodeMeta: node === undefined ? null : (node.metadata ?? {}),
    NodeSpec: node === undefined ? null : (node.spec ?? {}),
  };
  return { root };
}
