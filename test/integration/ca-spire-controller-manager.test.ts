// SPIRE's controller manager administers our CA as it does a SPIRE server, on a real API server with SPIRE's own definitions.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { TrustDomain } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { spireCrds } from '../support/kubernetes/spire-crds.ts';
import { createNamespace, createNode, createPod, deletePod } from '../support/kubernetes/stand-in-node.ts';
import { RunningCa } from '../support/running-ca.ts';
import { spireControllerManager, startSpireControllerManager } from '../support/spire-controller-manager.ts';

const crds = await spireCrds();
const missing =
  kubernetesMissing() ?? crds.missing ?? (spireControllerManager === undefined ? 'spire-controller-manager' : undefined);

describe.skipIf(missing !== undefined)(
  'spire-controller-manager on our CA (needs SPIRE_BIN with spire-controller-manager)',
  () => {
    const resources = new AsyncDisposableStack();
    let server: TestApiServer;
    let ca: RunningCa;
    let nodeUid = '';

    beforeAll(async () => {
      const folder = mkdtempSync(join(tmpdir(), 'manager-'));
      resources.defer(() => rmSync(folder, { recursive: true, force: true }));
      server = resources.use(await TestApiServer.start({ crds: crds.files ?? [] }));
      ca = resources.use(await RunningCa.start());
      nodeUid = (await createNode(server, 'node-1')).metadata.uid ?? '';
      await createNamespace(server, 'shop');
      resources.use(await startSpireControllerManager(folder, { kubeconfigFile: server.kubeconfigFile, adminSocket: ca.socket }));
    });
    afterAll(() => resources[Symbol.asyncDispose]());

    const apply = (kind: string, name: string, spec: unknown): Promise<unknown> =>
      server.applyYaml(JSON.stringify({ apiVersion: 'spire.spiffe.io/v1alpha1', kind, metadata: { name }, spec }));

    async function entries(): Promise<readonly string[]> {
      const { entries: found } = await ca.local(Entry).listEntries({});
      return found.map(({ spiffeId, parentId, selectors, hint }) => {
        const texts = selectors.map(({ type, value }) => `${type}:${value}`).join(',');
        return `${spiffeId?.path} ${parentId?.path} ${texts} ${hint}`;
      });
    }

    test('[SPIRE entry.v1.BatchCreateEntry, BatchUpdateEntry, BatchDeleteEntry] a ClusterSPIFFEID becomes entries, is changed and goes', async () => {
      const { metadata } = await createPod(server, { namespace: 'shop', name: 'web', node: 'node-1', serviceAccount: 'web' });
      const spiffeIDTemplate = 'spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}';
      const parent = `/spire/agent/k8s_psat/main/${nodeUid}`;
      const expected = (hint: string): string => `/ns/shop/sa/web ${parent} k8s:pod-uid:${metadata.uid} ${hint}`;
      await apply('ClusterSPIFFEID', 'all', { spiffeIDTemplate, hint: 'one' });
      await expect.poll(entries, { timeout: 60_000 }).toEqual([expected('one')]);
      await apply('ClusterSPIFFEID', 'all', { spiffeIDTemplate, hint: 'two' });
      await expect.poll(entries, { timeout: 60_000 }).toEqual([expected('two')]);
      await deletePod(server, 'shop', 'web');
      await expect.poll(entries, { timeout: 60_000 }).toEqual([]);
      await server.kubectl(['delete', 'clusterspiffeid', 'all']);
    });

    test('a ClusterStaticEntry becomes an entry', async () => {
      const spec = {
        spiffeID: 'spiffe://example.org/static',
        parentID: 'spiffe://example.org/parent',
        selectors: ['unix:uid:7'],
      };
      await apply('ClusterStaticEntry', 'one', spec);
      await expect.poll(entries, { timeout: 60_000 }).toEqual(['/static /parent unix:uid:7 ']);
      await server.kubectl(['delete', 'clusterstaticentry', 'one']);
      await expect.poll(entries, { timeout: 60_000 }).toEqual([]);
    });

    test('[SPIRE trustdomain.v1.BatchCreateFederationRelationship] a ClusterFederatedTrustDomain becomes a relationship', async () => {
      const relationships = async (): Promise<readonly string[]> => {
        const { federationRelationships: found } = await ca.local(TrustDomain).listFederationRelationships({});
        return found.map(({ trustDomain, bundleEndpointUrl }) => `${trustDomain} ${bundleEndpointUrl}`);
      };
      const bundleEndpointURL = 'https://other.example/bundle';
      await apply('ClusterFederatedTrustDomain', 'other', {
        trustDomain: 'other.example',
        bundleEndpointURL,
        bundleEndpointProfile: { type: 'https_web' },
      });
      await expect.poll(relationships, { timeout: 60_000 }).toEqual([`other.example ${bundleEndpointURL}`]);
      await server.kubectl(['delete', 'clusterfederatedtrustdomain', 'other']);
      await expect.poll(relationships, { timeout: 60_000 }).toEqual([]);
    });
  },
);
