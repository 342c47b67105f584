// `countersign check` of a cluster where much is amiss: each fault is a red line with what to do. That all is green in a real
// cluster is in test/cluster (the guide's first block).
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Finding } from '../../cli/check/finding.ts';
import { countersign } from '../support/command.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { createNode, createPod } from '../support/kubernetes/stand-in-node.ts';
import { isInstalled } from '../support/toolchain.ts';

const ROOT = join(import.meta.dirname, '../..');
const missing = kubernetesMissing() ?? (isInstalled('kubectl') ? undefined : 'kubectl');

describe.skipIf(missing !== undefined)('countersign check of a cluster (needs go and kubectl)', () => {
  let server: TestApiServer;
  let findings: readonly Finding[] = [];
  let code: number | null = null;

  beforeAll(async () => {
    server = await TestApiServer.start();
    await server.kubectl(['apply', '-k', join(ROOT, 'manifests/overlays/one-node')]);
    await server.kubectl(['delete', 'validatingwebhookconfiguration', 'countersign']);
    await server.kubectl(['delete', 'clusterrolebinding', 'countersign-agent']);
    await server.kubectl(['delete', 'validatingadmissionpolicybinding', 'countersign-pod-certificates']);
    await server.kubectl(['-n', 'countersign-system', 'scale', 'deployment/countersign-controller', '--replicas=0']);
    await createNode(server, 'node-1');
    // An agent whose image cannot be had, as its kubelet says.
    const labels = { 'app.kubernetes.io/name': 'countersign-agent' };
    await createPod(server, { namespace: 'countersign-agents', name: 'agent-x', node: 'node-1', labels });
    const waiting = { reason: 'ImagePullBackOff', message: 'no such image' };
    const status = {
      conditions: [{ type: 'Ready', status: 'False' }],
      containerStatuses: [{ name: 'main', image: 'x', imageID: '', ready: false, restartCount: 0, state: { waiting } }],
    };
    await server.api.expect(
      'PATCH',
      '/api/v1/namespaces/countersign-agents/pods/agent-x/status',
      { status },
      'application/merge-patch+json',
    );
    await server.applyYaml(
      JSON.stringify({
        apiVersion: 'countersign.dev/v1alpha1',
        kind: 'StaticIdentity',
        metadata: { name: 'one' },
        spec: { spiffeID: 'spiffe://cluster.local/a', parentID: 'spiffe://cluster.local/b', selectors: ['unix:uid:1'] },
      }),
    );
    const conditions = [
      { type: 'Ready', status: 'False', reason: 'Refused', message: 'the CA refuses it', lastTransitionTime: new Date(0) },
    ];
    const refused = { status: { observedGeneration: 1, conditions } };
    await server.api.expect(
      'PATCH',
      '/apis/countersign.dev/v1alpha1/staticidentities/one/status',
      refused,
      'application/merge-patch+json',
    );
    await server.kubectl(['delete', 'crd', 'workloadidentities.countersign.dev']);
    const ran = await countersign(['check', '--kubeconfig', server.kubeconfigFile, '--output', 'json']);
    code = ran.code;
    // The cast is sound: it is the command's own form.
    findings = (JSON.parse(ran.stdout) as { findings: readonly Finding[] }).findings;
  }, 600_000);
  afterAll(() => server?.[Symbol.asyncDispose]());

  const of = (subject: string): readonly Finding[] => findings.filter((finding) => finding.subject === subject);

  test('fails, and each error says what to do', () => {
    expect(code).toBe(1);
    const errors = findings.filter(({ level }) => level === 'error');
    expect(errors.length).toBeGreaterThan(5);
    expect(errors.filter(({ remedy }) => remedy === undefined)).toEqual([]);
  });

  test('the API server that answers is a good line, with its clock', () => {
    expect(of('API server').map(({ level }) => level)).toEqual(['ok', 'ok']);
  });

  test.each([
    ['ca', 'error', '0 of 1 pods are ready'],
    ['controller', 'error', 'runs nowhere: no pod is wanted'],
    ['role of the agent', 'error', 'system:serviceaccount:countersign-agents:countersign-agent may not list pods'],
    [
      'pod certificates',
      'error',
      'anybody may ask for them: ValidatingAdmissionPolicyBinding countersign-pod-certificates is missing',
    ],
    ['agents', 'unknown', 'none is ready, so none was asked'],
    ['pod agent-x', 'error', 'is not ready on node-1: ImagePullBackOff: no such image'],
    ['CSI driver csi.countersign.dev', 'error', 'is not registered on node-1'],
    ['WorkloadIdentity', 'error', 'workloadidentities.countersign.dev is not defined'],
    ['StaticIdentity one', 'error', 'the CA refuses it'],
    ['ClusterWorkloadIdentity', 'ok', '0 of 0 are in force'],
    ['bundle', 'unknown', 'not compared: no CA answered'],
  ])('%s: %s, %s', (subject, level, text) => {
    expect(of(subject)).toContainEqual(expect.objectContaining({ level, text }));
  });

  test('a namespace that holds no installation is said to', async () => {
    const { stdout } = await countersign(['check', '--kubeconfig', server.kubeconfigFile, '--namespace', 'default']);
    expect(stdout).toContain('✘ ca: is not installed');
  });
});
