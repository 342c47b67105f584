// Identities that are declared as resources, used by pods of two teams.
import { X509Certificate } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Cluster } from '../support/kubernetes/cluster.ts';
import {
  callingPod,
  callsOf,
  dialCommand,
  FETCH,
  serveCommand,
  serviceAccount,
  serviceAccountIdentity,
  withWorkloadApi,
  workloadIdentity,
} from '../support/kubernetes/identities.ts';
import { Installation } from '../support/kubernetes/installation.ts';
import { deploymentObject, IDLE, podObject, serviceObject, TestNamespace } from '../support/kubernetes/pods.ts';
import { lacking, noCluster, useCluster, workloadImage } from '../support/kubernetes/use-cluster.ts';

const PRINT = (file: string): string[] => [
  '/usr/bin/node',
  '-p',
  `require('node:fs').readFileSync(${JSON.stringify(file)}, 'utf8')`,
];

describe.skipIf(noCluster !== undefined)(`declared identities${lacking}`, () => {
  let cluster: Cluster;
  let installation: Installation;
  let image: string;
  let shop: TestNamespace;
  let bank: TestNamespace;
  let serverId: string;
  let clientId: string;

  beforeAll(async () => {
    cluster = await useCluster();
    installation = await Installation.ready(cluster);
    image = await workloadImage();
    shop = await TestNamespace.fresh(cluster, 'shop', { 'countersign.test/group': 'shop' });
    bank = await TestNamespace.fresh(cluster, 'bank');
    serverId = `spiffe://cluster.local/ns/${shop.name}/sa/server`;
    clientId = `spiffe://cluster.local/ns/${bank.name}/client`;
    await cluster.applyYaml(JSON.stringify(serviceAccountIdentity('test-shop', 'shop')));
    await bank.apply(workloadIdentity('client'));
    const server = { name: 'server', image, command: serveCommand(clientId), serviceAccount: 'server' };
    await shop.apply(serviceAccount('server'), serviceObject('server', 8443), deploymentObject(withWorkloadApi(server), 1));
    await bank.apply(deploymentObject(withWorkloadApi({ name: 'client', image, command: IDLE }), 1));
    await shop.rolledOut('deployment/server');
    await bank.rolledOut('deployment/client');
  });
  afterAll(async () => {
    await cluster?.kubectl(['delete', 'clusterworkloadidentity', 'test-shop', '--ignore-not-found']);
    await shop?.[Symbol.asyncDispose]();
    await bank?.[Symbol.asyncDispose]();
  });

  const target = (): string => `server.${shop.name}.svc:8443`;

  const idIn = async (namespace: TestNamespace, pod: string): Promise<string> => {
    const output = await namespace.exec(pod, FETCH).catch((error: Error) => error.message);
    return /"id":"([^"]+)"/.exec(output)?.[1] ?? output;
  };

  it('lets two Deployments in two namespaces call each other over mTLS', async () => {
    await expect.poll(() => idIn(shop, 'deployment/server')).toBe(serverId);
    await expect.poll(() => idIn(bank, 'deployment/client')).toBe(clientId);
    const answer = await bank.exec('deployment/client', dialCommand(serverId, target()));
    expect(answer).toContain(`${clientId} hello`);
  });

  it('refuses a pod without an identity, and a pod with another one', async () => {
    await bank.apply(podObject(withWorkloadApi({ name: 'stranger', image, command: IDLE })));
    await shop.apply(podObject(withWorkloadApi({ name: 'neighbour', image, command: IDLE })));
    await bank.ready('pod/stranger');
    await shop.ready('pod/neighbour');
    await expect(bank.exec('stranger', FETCH)).rejects.toThrow('PermissionDenied');
    await expect.poll(() => idIn(shop, 'neighbour')).toBe(`spiffe://cluster.local/ns/${shop.name}/sa/default`);
    await expect(shop.exec('neighbour', dialCommand(serverId, target()))).rejects.toThrow(/"error"/);
  });

  it('says on the resource what it came to, and why a pod got nothing', async () => {
    await expect
      .poll(() => cluster.kubectl(['get', 'cwi', 'test-shop', '-o', 'jsonpath={.status.stats.namespacesSelected}']))
      .toBe('1');
    const ready = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}';
    await expect.poll(() => bank.kubectl(['get', 'wi', 'client', '-o', ready])).toBe('True');
  });

  it('refuses a resource that cannot be rendered, with the reason', async () => {
    const broken = {
      ...workloadIdentity('client'),
      metadata: { name: 'broken' },
      spec: { pathTemplate: '{{ .PodMeta.Nonsense }}' },
    };
    await expect(bank.apply(broken)).rejects.toThrow(/Nonsense/);
  });

  it('gives a pod its SVID as files, with no agent (podCertificate)', async () => {
    const sources = [
      { podCertificate: { signerName: 'countersign.dev/svid', keyType: 'ECDSAP256', credentialBundlePath: 'credentials.pem' } },
      { clusterTrustBundle: { signerName: 'countersign.dev/svid', labelSelector: {}, path: 'bundle.pem' } },
    ];
    const spec = { volumes: [{ name: 'svid', projected: { sources } }] };
    const container = { volumeMounts: [{ name: 'svid', mountPath: '/svid', readOnly: true }] };
    await shop.apply(podObject({ name: 'agentless', image, command: IDLE, spec, container }));
    await shop.ready('pod/agentless');
    const [credentials, bundle] = [
      await shop.exec('agentless', PRINT('/svid/credentials.pem')),
      await shop.exec('agentless', PRINT('/svid/bundle.pem')),
    ];
    const certificate = new X509Certificate(credentials.slice(credentials.indexOf('-----BEGIN CERTIFICATE')));
    expect(certificate.subjectAltName).toBe(`URI:spiffe://cluster.local/ns/${shop.name}/sa/default`);
    const authorities = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    expect(authorities.some((pem) => certificate.verify(new X509Certificate(pem).publicKey))).toBe(true);
  });

  it('gives a pod of a reused name its own identity, not the one before', async () => {
    const pod = (account: string) =>
      podObject(withWorkloadApi({ name: 'phoenix', image, command: IDLE, serviceAccount: account }));
    await shop.apply(serviceAccount('first'), serviceAccount('second'), pod('first'));
    await shop.ready('pod/phoenix');
    await expect.poll(() => idIn(shop, 'phoenix')).toBe(`spiffe://cluster.local/ns/${shop.name}/sa/first`);
    await shop.kubectl(['delete', 'pod', 'phoenix', '--wait']);
    await shop.apply(pod('second'));
    await shop.ready('pod/phoenix');
    const seen = new Set<string>();
    const second = `spiffe://cluster.local/ns/${shop.name}/sa/second`;
    await expect.poll(async () => seen.add(await idIn(shop, 'phoenix')).has(second)).toBe(true);
    expect([...seen].filter((id) => id.startsWith('spiffe:'))).toEqual([second]);
  });

  describe('with calls under way', () => {
    beforeAll(async () => {
      const pod = { name: 'caller', image, labels: { app: 'client' } };
      await bank.apply(callingPod(pod, serverId, target()));
      await bank.ready('pod/caller');
    });

    const moreCalls = async (): Promise<void> => {
      const { made } = await callsOf(bank, 'caller');
      await expect.poll(async () => (await callsOf(bank, 'caller')).made).toBeGreaterThan(made + 10);
    };

    it('rolls the CA without a failed call', async () => {
      await moreCalls();
      const { failures } = await callsOf(bank, 'caller');
      await installation.restart('ca');
      await moreCalls();
      expect((await callsOf(bank, 'caller')).failures).toEqual(failures);
    });

    it('loses no call when the node agent is killed, and has an SVID from its successor', async () => {
      const { failures } = await callsOf(bank, 'caller');
      await installation.killAgent();
      await installation.rolledOut();
      await moreCalls();
      expect((await callsOf(bank, 'caller')).failures).toEqual(failures);
      await expect.poll(() => idIn(bank, 'deployment/client')).toBe(clientId);
    });
  });
});
