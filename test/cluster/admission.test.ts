// The webhooks over the cluster's own network: by their Service, with the controller's SVID, through a change of the CA's key.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Cluster } from '../support/kubernetes/cluster.ts';
import { Installation } from '../support/kubernetes/installation.ts';
import { TestNamespace } from '../support/kubernetes/pods.ts';
import { lacking, noCluster, useCluster } from '../support/kubernetes/use-cluster.ts';

const SYSTEM = 'countersign-system';

describe.skipIf(noCluster !== undefined)(`admission${lacking}`, () => {
  let cluster: Cluster;
  let installation: Installation;
  let namespace: TestNamespace;
  beforeAll(async () => {
    cluster = await useCluster();
    installation = await Installation.ready(cluster);
    namespace = await TestNamespace.create(cluster, 'admission');
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  const apply = async (name: string, pathTemplate: string): Promise<string> => {
    const spec = { pathTemplate, podSelector: { matchLabels: { app: name } } };
    const object = { apiVersion: 'countersign.dev/v1alpha1', kind: 'WorkloadIdentity', metadata: { name }, spec };
    return namespace.kubectl(['apply', '-f', '-'], JSON.stringify(object)).catch(String);
  };

  /** What the API server is to trust the webhooks by: subject key IDs do not matter here, only how many there are. */
  const authorities = async (): Promise<number> => {
    const path = 'jsonpath={.webhooks[0].clientConfig.caBundle}';
    const caBundle = await cluster.kubectl(['get', 'validatingwebhookconfiguration', 'countersign', '-o', path]);
    return Buffer.from(caBundle, 'base64').toString().split('-----BEGIN CERTIFICATE-----').length - 1;
  };

  /** The ID of the authority that `authority prepare` made. */
  const prepare = async (): Promise<string> => {
    const printed = await installation.countersign(['authority', 'prepare', '--kind', 'x509', '--output', 'json']);
    return /[0-9a-f]{40}/.exec(printed)?.[0] ?? '';
  };

  it('refuses what is wrong and takes what is right, by way of the Service', async () => {
    // A new Service may refuse for a second.
    await expect.poll(() => apply('bad', 'web/{{ .PodMeta.Nothing }}')).toContain('spec.pathTemplate: 1:');
    expect(await apply('good', 'web/{{ .PodMeta.Name }}')).toContain('created');
  });

  it('goes on when the CA signs with another key, and the controller shows a certificate by it', async () => {
    const before = await authorities();
    const id = await prepare();
    await expect.poll(authorities).toBe(before + 1);
    await installation.countersign(['authority', 'activate', '--kind', 'x509', '--authority-id', id]);
    expect(await apply('between', 'web/{{ .PodMeta.Name }}')).toContain('created');
    await cluster.kubectl(['-n', SYSTEM, 'rollout', 'restart', 'deployment/countersign-controller']);
    await cluster.kubectl(['-n', SYSTEM, 'rollout', 'status', 'deployment/countersign-controller', '--timeout=90s']);
    await expect.poll(() => apply('after', 'web/{{ .PodMeta.Name }}')).toMatch(/created|unchanged/);
    expect(await apply('bad', 'web/{{')).toContain('spec.pathTemplate: 1:');
  });
});
