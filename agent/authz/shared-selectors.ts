// Which selectors of a workload are recorded: those that its replicas share, since recorded calls are about the workload, not about one
// of its processes. What is not named here is taken for shared: a policy may be about it.

/** Selectors whose value belongs to one replica, one rollout or one node, or may hold a secret. */
const OF_ONE_REPLICA: readonly string[] = [
  'k8s:pod-name:',
  'k8s:pod-uid:',
  'k8s:node-name:',
  'k8s:pod-owner-uid:',
  // Of a Deployment's rollout and of a CronJob's run; a StatefulSet or DaemonSet keeps its name.
  'k8s:pod-owner:ReplicaSet:',
  'k8s:pod-owner:Job:',
  // Values of environment variables.
  'docker:env:',
  'docker:label:com.docker.compose.container-number:',
  'docker:label:com.docker.compose.replace:',
];

/** Labels that Kubernetes' controllers put on pods to tell replicas and rollouts apart. */
const LABELS_OF_ONE_REPLICA: readonly string[] = [
  'pod-template-hash',
  'pod-template-generation',
  'controller-revision-hash',
  'controller-uid',
  'job-name',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-name',
  'batch.kubernetes.io/job-completion-index',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
];

const LEFT_OUT = [...OF_ONE_REPLICA, ...LABELS_OF_ONE_REPLICA.map((label) => `k8s:pod-label:${label}:`)];

/** What the CA takes. Kept first are those by which policies usually select. */
const MAX_SELECTORS = 64;
const MAX_CHARACTERS = 512;
const KEPT_FIRST: readonly string[] = ['k8s:ns:', 'k8s:sa:', 'k8s:pod-label:', 'k8s:ns-label:', 'k8s:container-name:'];

/**
 * The selectors that a workload has in common with its replicas, sorted; 64 of them at most.
 *
 * @param selectors as text, such as `k8s:pod-label:app:orders`
 */
export function sharedSelectors(selectors: Iterable<string>): readonly string[] {
  const shared = [...selectors].filter(
    (selector) => selector.length <= MAX_CHARACTERS && !LEFT_OUT.some((prefix) => selector.startsWith(prefix)),
  );
  return shared.sort(inOrderOfUse).slice(0, MAX_SELECTORS).sort();
}

function inOrderOfUse(one: string, other: string): number {
  return placeOf(one) - placeOf(other) || (one < other ? -1 : 1);
}

function placeOf(selector: string): number {
  const place = KEPT_FIRST.findIndex((prefix) => selector.startsWith(prefix));
  return place === -1 ? KEPT_FIRST.length : place;
}
