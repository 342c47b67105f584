// An installation from its first minute to its last: applied, used, upgraded and rolled back under traffic, removed.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Cluster } from '../support/kubernetes/cluster.ts';
import {
  callingPod,
  callsOf,
  FETCH,
  serveCommand,
  serviceAccount,
  serviceAccountIdentity,
  withWorkloadApi,
} from '../support/kubernetes/identities.ts';
import type { Calls } from '../support/kubernetes/identities.ts';
import { buildProductImage, PRODUCT_IMAGE } from '../support/kubernetes/image.ts';
import { Installation, MANIFESTS } from '../support/kubernetes/installation.ts';
import { deploymentObject, IDLE, podObject, serviceObject, TestNamespace } from '../support/kubernetes/pods.ts';
import { lacking, noCluster, useCluster, workloadImage } from '../support/kubernetes/use-cluster.ts';

const NEXT_IMAGE = 'countersign:0.1.0-next';

describe.skipIf(noCluster !== undefined)(`an installation${lacking}`, () => {
  const overlay = mkdtempSync(join(tmpdir(), 'countersign-overlay-'));
  let cluster: Cluster;
  let installation: Installation;
  let image: string;
  let namespace: TestNamespace;
  beforeAll(async () => {
    cluster = await useCluster();
    installation = await Installation.absent(cluster);
    image = await workloadImage();
    namespace = await TestNamespace.fresh(cluster, 'lifecycle', { 'countersign.test/group': 'lifecycle' });
  });
  afterAll(async () => {
    rmSync(overlay, { recursive: true });
    await namespace?.[Symbol.asyncDispose]();
  });

  const callsNow = (): Promise<Calls> => callsOf(namespace, 'caller');

  const moreCalls = async (): Promise<void> => {
    const { made } = await callsNow();
    await expect.poll(async () => (await callsNow()).made).toBeGreaterThan(made + 10);
  };

  it('comes from the manifests and nothing else, and gives a pod its SVID', async () => {
    const started = performance.now();
    await installation.apply();
    await namespace.apply(podObject(withWorkloadApi({ name: 'first', image, command: IDLE })));
    const identity = JSON.stringify(serviceAccountIdentity('test-lifecycle', 'lifecycle'));
    // The webhook that judges it answers once the controller is ready.
    await expect.poll(() => cluster.applyYaml(identity).then(() => 'applied', String)).toBe('applied');
    const id = `spiffe://cluster.local/ns/${namespace.name}/sa/default`;
    await expect.poll(() => namespace.exec('first', FETCH).catch(String)).toContain(id);
    console.log(`from apply to the first SVID: ${((performance.now() - started) / 1000).toFixed(1)} s (goal: under 30 s)`);
    await installation.rolledOut();
  });

  it('is upgraded and rolled back with no failed call', async () => {
    const account = `spiffe://cluster.local/ns/${namespace.name}/sa/`;
    const server = withWorkloadApi({
      name: 'server',
      image,
      command: serveCommand(`${account}default`),
      serviceAccount: 'server',
    });
    await namespace.apply(serviceAccount('server'), serviceObject('server', 8443), deploymentObject(server, 1));
    await namespace.rolledOut('deployment/server');
    await namespace.apply(callingPod({ name: 'caller', image }, `${account}server`, `server.${namespace.name}.svc:8443`));
    await namespace.ready('pod/caller');
    await moreCalls();
    // A new Service may refuse for a moment.
    const { failures } = await callsNow();

    await cluster.loadImage(buildProductImage(NEXT_IMAGE));
    const [newName, newTag] = NEXT_IMAGE.split(':');
    const kustomization = { resources: [relative(overlay, MANIFESTS)], images: [{ name: newName, newTag }] };
    writeFileSync(join(overlay, 'kustomization.yaml'), JSON.stringify(kustomization));
    await installation.apply(overlay);
    await installation.rolledOut();
    // A rollout is complete before the last of the old pods has ended.
    await expect.poll(() => installation.images()).toEqual([NEXT_IMAGE]);
    await moreCalls();

    await installation.rollBack();
    await installation.rolledOut();
    await expect.poll(() => installation.images()).toEqual([PRODUCT_IMAGE]);
    await moreCalls();
    expect((await callsNow()).failures).toEqual(failures);
  });

  it('leaves nothing behind when it is removed', async () => {
    await cluster.kubectl(['delete', 'clusterworkloadidentity', 'test-lifecycle']);
    await namespace[Symbol.asyncDispose]();
    await cluster.kubectl(['wait', '--for=delete', `namespace/${namespace.name}`, '--timeout=60s']);
    await installation.remove();
    // What the controller published has an owner in the manifests: Kubernetes deletes it when it comes to it.
    await expect.poll(() => installation.remains()).toEqual([]);
  });
});
