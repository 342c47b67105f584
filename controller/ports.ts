import type { IdentityDeclaration } from '../crds/identity-declaration.ts';
import type { WorkloadMetadata } from '../policy/workload-metadata.ts';

/** A JSON value as Kubernetes objects and claims hold them. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Names the object that declares something; `namespace` is empty for what is not namespaced. */
export interface ObjectRef {
  /** Such as `ClusterWorkloadIdentity`. */
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** Empty for an object that came from a file. */
  readonly uid: string;
}

/** A reference as people read it: `WorkloadIdentity payments/web`. */
export function refText({ kind, namespace, name }: Pick<ObjectRef, 'kind' | 'namespace' | 'name'>): string {
  return `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`;
}

/** What the controller keeps of a pod. */
export interface PodRecord {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Undefined until the scheduler has bound it. */
  readonly nodeName: string | undefined;
  readonly serviceAccountName: string;
  readonly labels: Readonly<Record<string, string>>;
  /** All its containers have ended for good (phase Succeeded or Failed). */
  readonly finished: boolean;
  readonly createdAtMs: number;
  /** The part of the object that the live templates read: JSON under `metadata` and `spec`. */
  readonly object: TrimmedObject;
}

/** What the controller keeps of a node. */
export interface NodeRecord {
  readonly name: string;
  readonly uid: string;
  readonly object: TrimmedObject;
}

/** The part of an object that templates may read. */
export interface TrimmedObject {
  readonly metadata: JsonObject;
  readonly spec: JsonObject;
  /** What it was trimmed to. */
  readonly trim: Trim;
}

/** Which top-level fields of `metadata` and `spec` are kept: names in lower case, or everything. */
export interface Trim {
  readonly metadata: ReadonlySet<string> | 'all';
  readonly spec: ReadonlySet<string> | 'all';
}

export interface NamespaceRecord {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface ServiceRecord {
  readonly namespace: string;
  readonly name: string;
}

/** The pods behind a Service, or a part of them: an EndpointSlice. */
export interface EndpointsRecord {
  readonly namespace: string;
  readonly name: string;
  /** The Service. */
  readonly service: string;
  readonly podUids: readonly string[];
}

/** The fields of an entry that can change while it stays the same entry. */
export interface EntryFields {
  /** 0: the CA's default. */
  readonly x509SvidTtlSeconds: number;
  /** 0: the CA's default. */
  readonly jwtSvidTtlSeconds: number;
  readonly federatesWith: readonly string[];
  readonly admin: boolean;
  readonly downstream: boolean;
  readonly dnsNames: readonly string[];
  readonly hint: string;
  readonly storeSvid: boolean;
  /** Claims of its JWT-SVIDs besides the registered ones. */
  readonly jwtClaims: JsonObject | undefined;
  /** What the workload is in Kubernetes, for policies; absent where that is not said. */
  readonly workload?: WorkloadMetadata | undefined;
}

/** An entry that ought to be at the CA. */
export interface DesiredEntry extends EntryFields {
  /** SPIFFE ID, parent and selectors as one text: what makes it this entry and no other. */
  readonly key: string;
  /** Such as `spiffe://example.org/payments/web`; checked. */
  readonly spiffeId: string;
  readonly parentId: string;
  /** Sorted texts, each once, such as `k8s:pod-uid:…`. */
  readonly selectors: readonly string[];
}

/** A reason why something that was asked for is not so. */
export interface Problem {
  /** Stable, CamelCase, such as `TemplateError`; the reason of a condition or a Kubernetes Event. */
  readonly reason: string;
  /** What happened, why and what to do. */
  readonly message: string;
  /** The pod that it concerns, as `namespace/name`. */
  readonly pod?: string;
}

/** What a declaration would do. */
export interface DryRun {
  readonly problems: readonly Problem[];
  readonly podsSelected: number;
  /** Selected pods that were not looked at: there were too many of them, or there was no more time. */
  readonly podsPassedOver: number;
}

/** What admission asks of the identity index. */
export interface DeclarationPreview {
  /**
   * What would go wrong if this declaration were applied now: templates that do not render against the pods it would select
   * (at most a few of them are named), IDs outside the trust domain or the namespace's path, fields that are not allowed.
   * Asynchronous, because other work gets its turn in between, and pods whose cached part is too small for its templates are
   * read from the source. It ends after a second, or soon after the signal aborts, with what it has seen until then.
   */
  dryRun(declaration: IdentityDeclaration, signal?: AbortSignal): Promise<DryRun>;
}

/** An entry of a pod that exists at the CA. */
export interface PodEntry {
  /** The ID at the CA; undefined until it has been made there. */
  readonly entryId: string | undefined;
  readonly entry: DesiredEntry;
  readonly declaredBy: ObjectRef;
}

/** What the signer of pod certificates asks. */
export interface PodEntries {
  /** The pod's entries, oldest declaration first; empty when nothing declares one, or the pod is not known (yet). */
  entriesOfPod(podUid: string): readonly PodEntry[];
}
