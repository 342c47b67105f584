// The controller's webhooks as a user meets them: kubectl, a real API server, and the controller with its own SVID from a real CA.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { webhookConfiguration } from '../../controller/admission/webhook-configuration.ts';
import { runToEnd } from '../support/command.ts';
import { ControllerRig, pathsAt } from '../support/controller-rig.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { spireCrds } from '../support/kubernetes/spire-crds.ts';
import { createNamespace, createNode, createPod } from '../support/kubernetes/stand-in-node.ts';
import { RunningCa } from '../support/running-ca.ts';

const SERVICE = { namespace: 'countersign-system', name: 'countersign-controller' };
const spire = kubernetesMissing() === undefined ? await spireCrds() : { missing: 'no API server' };
const CONFIGURATIONS = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations';

function yaml(kind: string, name: string, spec: unknown, namespace?: string): string {
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }) };
  return JSON.stringify({ apiVersion: 'countersign.dev/v1alpha1', kind, metadata, spec });
}

describe.skipIf(kubernetesMissing() !== undefined)('webhooks of the controller (needs go, or KUBEBUILDER_ASSETS)', () => {
  let server: TestApiServer;
  let ca: RunningCa;
  let rig: ControllerRig;

  beforeAll(async () => {
    [server, ca] = await Promise.all([TestApiServer.start({ crds: ['crds', ...(spire.files ?? [])] }), RunningCa.start()]);
    await createNode(server, 'node-1');
    for (const name of [SERVICE.namespace, 'payments', 'orders']) await createNamespace(server, name);
    await createPod(server, { namespace: 'payments', name: 'web', node: 'node-1', labels: { app: 'web' } });
    await createPod(server, { namespace: 'orders', name: 'db', node: 'node-1', labels: { app: 'db' } });
    rig = await ControllerRig.start({
      socket: ca.socket,
      kubeconfigFile: server.kubeconfigFile,
      yaml: `
admission: { service: ${SERVICE.namespace}/${SERVICE.name}, webhookConfiguration: countersign }
listen: { http: "127.0.0.1:0", webhook: "127.0.0.1:0" }`,
    });
    const webhookPort = await rig.controller.webhookPort;
    // Without a node the API server cannot reach a ClusterIP: a Service by name leads it to this process.
    await server.api.expect('POST', `/api/v1/namespaces/${SERVICE.namespace}/services`, {
      metadata: { name: SERVICE.name },
      spec: { type: 'ExternalName', externalName: 'localhost' },
    });
    const text = JSON.stringify(webhookConfiguration({ name: 'countersign', service: SERVICE }));
    await server.api.expect(
      'POST',
      CONFIGURATIONS,
      JSON.parse(text, (key, value: unknown) => (key === 'port' ? webhookPort : value)),
    );
  });

  afterAll(async () => {
    await rig?.[Symbol.asyncDispose]();
    await ca?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  /** What kubectl says, whether it worked or not; warnings are on its standard error. */
  async function apply(object: string, ...options: readonly string[]): Promise<string> {
    try {
      return await server.kubectl(['apply', '-f', '-', ...options], object);
    } catch (error) {
      return String(error);
    }
  }

  const PODS = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'payments' } } };

  test('the API server trusts the webhooks as soon as their configuration has its bundle', async () => {
    const probe = { spiffeID: 'spiffe://example.org/probe', parentID: 'spiffe://example.org/a', selectors: ['unix:uid:1'] };
    await expect.poll(() => apply(yaml('StaticIdentity', 'probe', probe)), { timeout: 20_000 }).toContain('created');
  });

  test.each([
    [
      'a template that cannot be parsed',
      { spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/{{ .PodMeta.Nothing }}' },
      'spec.spiffeIDTemplate: 1:32: there is no field Nothing',
    ],
    [
      'a template that fails for a pod',
      { spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/{{ index .PodMeta.Labels "team" }}' },
      'spec.spiffeIDTemplate: pod payments/web: ',
    ],
    [
      'an ID outside the trust domain',
      { spiffeIDTemplate: 'spiffe://example.net/{{ .PodMeta.Name }}' },
      'outside the trust domain example.org',
    ],
    ['an ID below /spire', { spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/spire/{{ .PodMeta.Name }}' }, 'pod payments/web: '],
    ['an admin', { spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/a', admin: true }, 'allowAdminIdentities'],
  ])('%s is refused, and nothing is stored', async (_what, spec, text) => {
    const said = await apply(yaml('ClusterWorkloadIdentity', 'bad', { ...spec, ...PODS }));
    expect(said).toContain('The ClusterWorkloadIdentity "bad" is invalid');
    expect(said).toContain(text);
    expect(await server.kubectl(['get', 'clusterworkloadidentity', 'bad', '--ignore-not-found'])).toBe('');
  });

  test('a namespace cannot leave its own path', async () => {
    const said = await apply(yaml('WorkloadIdentity', 'out', { pathTemplate: '../orders/{{ .PodMeta.Name }}' }, 'payments'));
    expect(said).toContain('spec.pathTemplate');
    expect(said).toContain('invalid');
  });

  test('what is right is stored, becomes an entry, and is not asked about again', async () => {
    const good = yaml('ClusterWorkloadIdentity', 'good', {
      spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}',
      ...PODS,
    });
    expect(await apply(good)).toContain('created');
    await expect.poll(() => pathsAt(ca.socket)).toContain('/ns/payments');
    expect(await apply(good)).toContain('unchanged');
    const before = await rig.metric('countersign_admission_reviews_total');
    await server.kubectl(['label', 'clusterworkloadidentity', 'good', 'team=payments']);
    expect(await rig.metric('countersign_admission_reviews_total')).toBe(before);
  });

  test('a dry run on the server is judged as well', async () => {
    const bad = yaml('ClusterWorkloadIdentity', 'dry', { spiffeIDTemplate: '{{', ...PODS });
    expect(await apply(bad, '--dry-run=server')).toContain('invalid');
  });

  test('an older object that declares the same entry is named in a warning', async () => {
    const spec = { spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}', ...PODS };
    const { stdout, stderr } = await kubectlBoth(yaml('ClusterWorkloadIdentity', 'same', spec));
    expect(stdout).toContain('created');
    expect(stderr).toContain('Warning: pod payments/web: ClusterWorkloadIdentity good, which is older');
  });

  test.skipIf(spire.missing !== undefined)(
    `SPIRE's kinds are judged as well (${spire.missing ?? 'its CRDs are there'})`,
    async () => {
      const object = (name: string, spiffeIDTemplate: string): string => {
        const spec = { spiffeIDTemplate, podSelector: { matchLabels: { app: 'db' } } };
        return JSON.stringify({ apiVersion: 'spire.spiffe.io/v1alpha1', kind: 'ClusterSPIFFEID', metadata: { name }, spec });
      };
      expect(await apply(object('bad', 'spiffe://{{ .TrustDomain }}/{{ index .PodMeta.Labels "x" }}'))).toContain(
        'pod orders/db: ',
      );
      expect(await apply(object('good', 'spiffe://{{ .TrustDomain }}/{{ .PodMeta.Name }}'))).toContain('created');
      await expect.poll(() => pathsAt(ca.socket)).toContain('/db');
    },
  );

  test('a selector that matches nothing is a warning', async () => {
    const none = { spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/x', podSelector: { matchLabels: { app: 'none' } } };
    const { stdout, stderr } = await kubectlBoth(yaml('ClusterWorkloadIdentity', 'none', none));
    expect(stdout).toContain('created');
    expect(stderr).toContain('Warning: selects no pod');
  });

  async function kubectlBoth(object: string): Promise<{ readonly stdout: string; readonly stderr: string }> {
    return runToEnd('kubectl', ['--kubeconfig', server.kubeconfigFile, 'apply', '-f', '-'], { input: object });
  }
});
