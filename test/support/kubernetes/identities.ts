// Identity resources of the cluster tests, and pods that use what these give.
import { WORKLOAD_API } from './installation.ts';
import { podObject } from './pods.ts';
import type { TestNamespace, TestPod } from './pods.ts';

const PROGRAM = '/usr/bin/workload';
const GROUP = 'countersign.dev/v1alpha1';

/** Fetches an X.509-SVID with go-spiffe and prints it. */
export const FETCH: readonly string[] = [PROGRAM, '-addr', WORKLOAD_API.address, '-timeout', '20s', 'fetch', 'x509'];

/** Each pod in namespaces with this label is known by its namespace and service account. */
export function serviceAccountIdentity(name: string, label: string): object {
  return {
    apiVersion: GROUP,
    kind: 'ClusterWorkloadIdentity',
    metadata: { name },
    spec: {
      spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}',
      namespaceSelector: { matchLabels: { 'countersign.test/group': label } },
    },
  };
}

/** Each pod labelled `app: <name>` in the resource's namespace is known by that label. */
export function workloadIdentity(name: string): object {
  const spec = { pathTemplate: '{{ .PodMeta.Labels.app }}', podSelector: { matchLabels: { app: name } } };
  return { apiVersion: GROUP, kind: 'WorkloadIdentity', metadata: { name }, spec };
}

export function serviceAccount(name: string): object {
  return { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } };
}

/** A pod into which the CSI driver mounts the Workload API. */
export function withWorkloadApi(pod: TestPod): TestPod {
  const { volumes, volumeMounts } = WORKLOAD_API;
  return { ...pod, container: { ...pod.container, volumeMounts }, spec: { ...pod.spec, volumes } };
}

/** What answers mTLS calls of one SPIFFE ID at port 8443. */
export function serveCommand(authorized: string): readonly string[] {
  return [PROGRAM, '-addr', WORKLOAD_API.address, '-timeout', '60s', '-authorize', authorized, 'serve', '0.0.0.0:8443'];
}

/** One mTLS call to a server of that SPIFFE ID, over a connection and with an SVID of its own. */
export function dialCommand(server: string, target: string): readonly string[] {
  return [PROGRAM, '-addr', WORKLOAD_API.address, '-timeout', '10s', '-authorize', server, 'dial', target];
}

/** How a {@link callingPod} fares. */
export interface Calls {
  /** At least so many were made: the pod tells every tenth. */
  readonly made: number;
  /** What the failed ones met. */
  readonly failures: readonly string[];
}

/** A pod that calls without end, ten times a second, each time over a connection of its own. */
export function callingPod(pod: Omit<TestPod, 'command'>, server: string, target: string): object {
  const command = [PROGRAM, '-addr', WORKLOAD_API.address, '-timeout', '60s', '-authorize', server, 'call', target];
  return podObject(withWorkloadApi({ ...pod, command }));
}

/** What the pod has told so far. */
export async function callsOf(namespace: TestNamespace, pod: string): Promise<Calls> {
  const lines = (await namespace.kubectl(['logs', pod])).trim().split('\n');
  // The cast is sound: the program prints one such object on a line.
  const told = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as { calls?: number; failed?: string });
  const failures = told.flatMap(({ failed }) => (failed === undefined ? [] : [failed]));
  return { made: Math.max(0, ...told.map(({ calls = 0 }) => calls)), failures };
}
