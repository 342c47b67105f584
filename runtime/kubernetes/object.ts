/** The owner of an object, as its metadata names it. */
export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** Metadata of an object as it is on the wire: timestamps are RFC 3339 text, whatever generated types may say. */
export interface ObjectMeta {
  readonly name?: string;
  readonly generateName?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
}

/** Any object of the Kubernetes API as parsed JSON. What is below `metadata` has been checked to be a mapping, the rest not. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
  readonly [field: string]: unknown;
}

/** Names one object of a {@link ResourceType}. */
export interface ObjectName {
  /** Absent for what is not namespaced. */
  readonly namespace?: string;
  readonly name: string;
}

/** The key under which a watch knows an object: `namespace/name`, or `name` for what is not namespaced. */
export function objectKey({ metadata }: KubeObject): string {
  const name = metadata.name ?? '';
  return metadata.namespace === undefined || metadata.namespace === '' ? name : `${metadata.namespace}/${name}`;
}
