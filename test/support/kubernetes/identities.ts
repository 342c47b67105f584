// Identity resources of the cluster tests, and pods that use what these give.
import { WORKLOAD_API } from './installation.ts';
import { podTemplate } from './pods.ts';
import type { TestPod } from './pods.ts';

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

/** How many calls a {@link callingPod} has made since the first that succeeded. */
export interface Calls {
  readonly made: number;
  /** What the failed ones printed. */
  readonly failures: readonly string[];
}

/** A pod that calls without end, ten times a second, each time as {@link dialCommand} does. */
export function callingPod(pod: Omit<TestPod, 'command'>, server: string, target: string): object {
  const script = `
    const { spawn } = require('node:child_process');
    const { writeFileSync } = require('node:fs');
    const calls = { made: 0, failures: [] };
    function call() {
      const child = spawn(...${JSON.stringify([dialCommand(server, target)[0], dialCommand(server, target).slice(1)])});
      let said = '';
      child.stdout.on('data', (data) => (said += data));
      child.once('close', (code) => {
        if (code === 0 || calls.made > 0) calls.made += 1;
        if (code !== 0 && calls.made > 0) calls.failures.push(new Date().toISOString() + ' ' + said.trim());
        writeFileSync('/tmp/calls.new', JSON.stringify(calls));
        require('node:fs').renameSync('/tmp/calls.new', '/tmp/calls');
        setTimeout(call, 100);
      });
    }
    call();
    process.on('SIGTERM', () => process.exit());
  `;
  const { metadata, spec } = podTemplate(withWorkloadApi({ ...pod, command: ['/usr/bin/node', '-e', script] }));
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name: pod.name, ...metadata }, spec };
}

/** What a {@link callingPod} has to say, by a command to run in it. */
export const CALLS: readonly string[] = ['/usr/bin/node', '-p', `require('node:fs').readFileSync('/tmp/calls', 'utf8')`];
