// The API servers that other suites stand on: each supported version starts, and is what those suites take it for.
import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { KUBERNETES, kubernetesMissing } from '../support/kubernetes/binaries.ts';
import {
  createNamespace,
  createNode,
  createPod,
  createServiceAccount,
  createToken,
  deletePod,
} from '../support/kubernetes/stand-in-node.ts';

describe.each(Object.values(KUBERNETES))('kube-apiserver %s (needs go, or KUBEBUILDER_ASSETS)', (version) => {
  it.skipIf(kubernetesMissing({ version }) !== undefined)('serves pod certificates and trust bundles', async () => {
    await using server = await TestApiServer.start({ version });
    const resources = await server.kubectl(['api-resources', '--api-group=certificates.k8s.io', '-o', 'name']);
    expect(resources).toContain('podcertificaterequests.certificates.k8s.io');
    expect(resources).toContain('clustertrustbundles.certificates.k8s.io');
    expect((await server.api.send('GET', '/apis/certificates.k8s.io/v1beta1')).status).toBe(200);
  });
});

describe.skipIf(kubernetesMissing() !== undefined)('a test API server (needs go, or KUBEBUILDER_ASSETS)', () => {
  it('keeps objects, address and credentials through an outage', async () => {
    await using server = await TestApiServer.start();
    await createNamespace(server, 'payments');
    await server.stop();
    await expect(server.api.send('GET', '/readyz')).rejects.toThrow(/ECONNREFUSED|ECONNRESET|hang up/);
    await server.restart();
    expect(await server.kubectl(['get', 'namespace', 'payments', '-o', 'name'])).toBe('namespace/payments\n');
  });

  it('answers 410 to a watch that resumes from before a compaction', async () => {
    await using server = await TestApiServer.start();
    const pods = await server.api.expect('GET', '/api/v1/pods');
    await server.compact();
    const query = `watch=1&timeoutSeconds=5&resourceVersion=${pods.metadata.resourceVersion}`;
    expect(await server.api.send('GET', `/api/v1/pods?${query}`)).toMatchObject({
      body: { type: 'ERROR', object: { code: 410 } },
    });
  });

  it('gives a user what RBAC gives, and writes down who asked', async () => {
    await using server = await TestApiServer.start({ audit: true });
    const file = await server.userKubeconfig('jane', ['team-a']);
    await expect(server.kubectl(['--kubeconfig', file, 'get', 'pods'])).rejects.toThrow(
      /User "jane" cannot list resource "pods"/,
    );
    await server.kubectl(['create', 'clusterrole', 'reader', '--verb=list', '--resource=pods']);
    await server.kubectl(['create', 'clusterrolebinding', 'team-a', '--clusterrole=reader', '--group=team-a']);
    await expect.poll(() => server.kubectl(['--kubeconfig', file, 'get', 'pods']).catch(() => 'refused')).toBe('');
    await expect.poll(() => readFileSync(server.auditFile, 'utf8')).toContain('"username":"jane"');
  });

  it('reviews a token of a pod while that pod lives', async () => {
    await using server = await TestApiServer.start();
    const node = await createNode(server, 'node-1');
    await createServiceAccount(server, 'default', 'web');
    const pod = await createPod(server, { name: 'web-1', node: 'node-1', serviceAccount: 'web' });
    const uid = pod.metadata.uid ?? '';
    const token = await createToken(server, { serviceAccount: 'web', audience: 'spire-server', pod: { name: 'web-1', uid } });
    const review = (): Promise<unknown> =>
      server.api.expect('POST', '/apis/authentication.k8s.io/v1/tokenreviews', { spec: { token, audiences: ['spire-server'] } });
    const extra = {
      'authentication.kubernetes.io/pod-name': ['web-1'],
      'authentication.kubernetes.io/pod-uid': [uid],
      'authentication.kubernetes.io/node-name': ['node-1'],
      'authentication.kubernetes.io/node-uid': [node.metadata.uid],
    };
    const user = { username: 'system:serviceaccount:default:web', extra };
    expect(await review()).toMatchObject({ status: { authenticated: true, audiences: ['spire-server'], user } });
    await deletePod(server, 'default', 'web-1');
    // The API server remembers a token's verdict for some seconds.
    await expect.poll(review, { timeout: 30_000, interval: 500 }).not.toHaveProperty('status.authenticated', true);
  });
});
