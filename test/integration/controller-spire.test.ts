// SPIRE's own resources, and SPIRE's own server.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ControllerRig, entriesAt, pathsAt } from '../support/controller-rig.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { spireCrds } from '../support/kubernetes/spire-crds.ts';
import { createNode, createPod, deletePod } from '../support/kubernetes/stand-in-node.ts';
import { RunningCa } from '../support/running-ca.ts';
import { spireBinaries, startSpireServer } from '../support/spire.ts';

const { files = [], missing } = await spireCrds();
const why = kubernetesMissing() ?? missing;

describe.skipIf(why !== undefined)(`SPIRE's kinds${why === undefined ? '' : ` (${why})`}`, () => {
  let server: TestApiServer;
  let ca: RunningCa;

  beforeAll(async () => {
    server = await TestApiServer.start({ crds: ['crds'] });
    ca = await RunningCa.start();
    await createNode(server, 'node-1');
    await createPod(server, { name: 'web-0', node: 'node-1', labels: { app: 'web' } });
  });

  afterAll(async () => {
    await ca?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  test('are followed from the moment when their definitions are there, with the statuses that they have', async () => {
    await using rig = await ControllerRig.start({ socket: ca.socket, kubeconfigFile: server.kubeconfigFile });
    await expect.poll(() => rig.isReady(), { timeout: 20_000 }).toBe(true);
    for (const file of files) await server.applyCrds(file);
    await server.applyYaml(`
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterSPIFFEID
metadata: { name: web }
spec:
  spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}"
  podSelector: { matchLabels: { app: web } }
---
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterStaticEntry
metadata: { name: batch }
spec: { spiffeID: "spiffe://example.org/batch", parentID: "spiffe://example.org/node", selectors: ["unix:uid:1000"] }
---
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterFederatedTrustDomain
metadata: { name: partner }
spec: { trustDomain: partner.test, bundleEndpointURL: "https://partner.test/bundle", bundleEndpointProfile: { type: https_web } }
`);
    await expect.poll(() => pathsAt(ca.socket), { timeout: 30_000 }).toEqual(['/batch', '/ns/default/sa/default']);
    const status = async (path: string): Promise<unknown> =>
      (await server.api.expect('GET', `/apis/spire.spiffe.io/v1alpha1/${path}`))['status'];
    await expect
      .poll(() => status('clusterspiffeids/web'))
      .toEqual({
        stats: {
          namespacesSelected: 4,
          namespacesIgnored: 2,
          podsSelected: 1,
          podEntryRenderFailures: 0,
          entriesMasked: 0,
          entriesToSet: 1,
          entryFailures: 0,
        },
      });
    await expect.poll(() => status('clusterstaticentries/batch')).toEqual({ rendered: true, masked: false, set: true });
    for (const kind of ['clusterspiffeids', 'clusterstaticentries', 'clusterfederatedtrustdomains']) {
      await server.api.expect('DELETE', `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${kind}.spire.spiffe.io`);
    }
    await expect.poll(() => pathsAt(ca.socket), { timeout: 40_000 }).toEqual([]);
    await deletePod(server, 'default', 'web-0');
  });
});

describe.skipIf(spireBinaries === undefined)('a SPIRE server (needs SPIRE_BIN)', () => {
  test('takes entries, changes and deletions', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'controller-spire-'));
    const resources = mkdtempSync(join(tmpdir(), 'controller-spire-'));
    await using spire = await startSpireServer({ folder });
    const socket = spire.admin.replace(/^unix:/, '');
    const write = (hint: string): void =>
      writeFileSync(
        join(resources, 'all.yaml'),
        `
apiVersion: v1
kind: Node
metadata: { name: n1, uid: node-1 }
---
apiVersion: v1
kind: Pod
metadata: { name: web-0, namespace: shop, uid: pod-1 }
spec: { nodeName: n1 }
---
apiVersion: countersign.dev/v1alpha1
kind: ClusterWorkloadIdentity
metadata: { name: web }
spec: { spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/{{ .PodMeta.Name }}", hint: ${hint}, dnsNameTemplates: [web.test], jwtClaims: { team: x } }
`,
      );
    write('one');
    await using rig = await ControllerRig.start({ socket, resourcesDir: resources, yaml: 'driftCheck: 300ms' });
    await expect.poll(() => rig.isReady(), { timeout: 20_000 }).toBe(true);
    await expect.poll(() => pathsAt(socket)).toEqual(['/web-0']);
    const [before] = await entriesAt(socket);
    expect(before).toMatchObject({ hint: 'one', dnsNames: ['web.test'], id: expect.stringMatching(/^main\./) });
    write('two');
    await expect.poll(async () => (await entriesAt(socket))[0]?.hint).toBe('two');
    const [after] = await entriesAt(socket);
    expect(after?.id).toBe(before?.id);
    rmSync(join(resources, 'all.yaml'));
    await expect.poll(() => pathsAt(socket)).toEqual([]);
    rmSync(resources, { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
  });
});
