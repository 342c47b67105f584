import type { ObjectName } from './object.ts';

/** One kind of object and where the API server serves it. */
export interface ResourceType {
  /** The API group; empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** The name in the path, such as `pods`. */
  readonly plural: string;
  readonly namespaced: boolean;
}

function core(kind: string, plural: string, namespaced: boolean): ResourceType {
  return { group: '', version: 'v1', kind, plural, namespaced };
}

export const PODS = core('Pod', 'pods', true);
export const NODES = core('Node', 'nodes', false);
export const NAMESPACES = core('Namespace', 'namespaces', false);
export const SERVICES = core('Service', 'services', true);
export const SERVICE_ACCOUNTS = core('ServiceAccount', 'serviceaccounts', true);
export const CONFIG_MAPS = core('ConfigMap', 'configmaps', true);
export const ENDPOINT_SLICES: ResourceType = {
  group: 'discovery.k8s.io',
  version: 'v1',
  kind: 'EndpointSlice',
  plural: 'endpointslices',
  namespaced: true,
};
export const LEASES: ResourceType = {
  group: 'coordination.k8s.io',
  version: 'v1',
  kind: 'Lease',
  plural: 'leases',
  namespaced: true,
};
export const EVENTS: ResourceType = {
  group: 'events.k8s.io',
  version: 'v1',
  kind: 'Event',
  plural: 'events',
  namespaced: true,
};
export const TOKEN_REVIEWS: ResourceType = {
  group: 'authentication.k8s.io',
  version: 'v1',
  kind: 'TokenReview',
  plural: 'tokenreviews',
  namespaced: false,
};
export const SUBJECT_ACCESS_REVIEWS: ResourceType = {
  group: 'authorization.k8s.io',
  version: 'v1',
  kind: 'SubjectAccessReview',
  plural: 'subjectaccessreviews',
  namespaced: false,
};
export const SELF_SUBJECT_ACCESS_REVIEWS: ResourceType = {
  group: 'authorization.k8s.io',
  version: 'v1',
  kind: 'SelfSubjectAccessReview',
  plural: 'selfsubjectaccessreviews',
  namespaced: false,
};
export const CUSTOM_RESOURCE_DEFINITIONS: ResourceType = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
  namespaced: false,
};
export const VALIDATING_WEBHOOK_CONFIGURATIONS: ResourceType = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  kind: 'ValidatingWebhookConfiguration',
  plural: 'validatingwebhookconfigurations',
  namespaced: false,
};
export const VALIDATING_ADMISSION_POLICIES: ResourceType = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  kind: 'ValidatingAdmissionPolicy',
  plural: 'validatingadmissionpolicies',
  namespaced: false,
};
export const VALIDATING_ADMISSION_POLICY_BINDINGS: ResourceType = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  kind: 'ValidatingAdmissionPolicyBinding',
  plural: 'validatingadmissionpolicybindings',
  namespaced: false,
};
export const CSI_DRIVERS: ResourceType = {
  group: 'storage.k8s.io',
  version: 'v1',
  kind: 'CSIDriver',
  plural: 'csidrivers',
  namespaced: false,
};
export const CSI_NODES: ResourceType = {
  group: 'storage.k8s.io',
  version: 'v1',
  kind: 'CSINode',
  plural: 'csinodes',
  namespaced: false,
};
export const STATEFUL_SETS: ResourceType = {
  group: 'apps',
  version: 'v1',
  kind: 'StatefulSet',
  plural: 'statefulsets',
  namespaced: true,
};
export const DEPLOYMENTS: ResourceType = {
  group: 'apps',
  version: 'v1',
  kind: 'Deployment',
  plural: 'deployments',
  namespaced: true,
};
export const DAEMON_SETS: ResourceType = {
  group: 'apps',
  version: 'v1',
  kind: 'DaemonSet',
  plural: 'daemonsets',
  namespaced: true,
};

/** The versions in which ClusterTrustBundles may be served, the preferred one first. */
export const CLUSTER_TRUST_BUNDLES: readonly ResourceType[] = ['v1', 'v1beta1', 'v1alpha1'].map((version) => ({
  group: 'certificates.k8s.io',
  version,
  kind: 'ClusterTrustBundle',
  plural: 'clustertrustbundles',
  namespaced: false,
}));

/** The versions in which PodCertificateRequests may be served, the preferred one first. */
export const POD_CERTIFICATE_REQUESTS: readonly ResourceType[] = ['v1', 'v1beta1'].map((version) => ({
  group: 'certificates.k8s.io',
  version,
  kind: 'PodCertificateRequest',
  plural: 'podcertificaterequests',
  namespaced: true,
}));

/** `apiVersion` as objects of this type carry it. */
export function apiVersionOf({ group, version }: ResourceType): string {
  return group === '' ? version : `${group}/${version}`;
}

/** The path below which a group's version is served, such as `/apis/apps/v1`. */
export function groupVersionPath(type: ResourceType): string {
  return `${type.group === '' ? '/api' : '/apis'}/${apiVersionOf(type)}`;
}

/** The path of a collection, over all namespaces unless one is named. */
export function collectionPath(type: ResourceType, namespace?: string): string {
  const scope = type.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  return `${groupVersionPath(type)}${scope}/${type.plural}`;
}

/** The path of one object, or of one of its subresources. */
export function objectPath(type: ResourceType, { namespace, name }: ObjectName, subresource?: string): string {
  const path = `${collectionPath(type, namespace)}/${encodeURIComponent(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}
