// The controller against a real API server and a real CA: from a resource and a pod to the entry, and back.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { TrustDomain } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import { ControllerRig, entriesAt, pathsAt } from '../support/controller-rig.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { createNamespace, createNode, createPod, deletePod } from '../support/kubernetes/stand-in-node.ts';
import { RunningCa } from '../support/running-ca.ts';

const RESOURCES = '/apis/countersign.dev/v1alpha1';
const MERGE = 'application/merge-patch+json';

describe.skipIf(kubernetesMissing() !== undefined)('the controller on an API server (needs go, or KUBEBUILDER_ASSETS)', () => {
  let server: TestApiServer;
  let ca: RunningCa;
  let nodeUid: string;
  const running: ControllerRig[] = [];

  beforeAll(async () => {
    server = await TestApiServer.start({ crds: ['crds'] });
    ca = await RunningCa.start();
    nodeUid = (await createNode(server, 'node-1')).metadata.uid ?? '';
  });

  afterAll(async () => {
    await ca?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  afterEach(async () => {
    for (const kind of ['clusterworkloadidentities', 'staticidentities', 'federatedtrustdomains']) {
      await server.api.expect('DELETE', `${RESOURCES}/${kind}`);
    }
    await server.api.send('DELETE', `${RESOURCES}/namespaces/default/workloadidentities`);
    await expect.poll(() => pathsAt(ca.socket)).toEqual([]);
    for (const each of running.splice(0)) await each[Symbol.asyncDispose]();
  });

  async function start(yaml = ''): Promise<ControllerRig> {
    const rig = await ControllerRig.start({ socket: ca.socket, kubeconfigFile: server.kubeconfigFile, yaml });
    running.push(rig);
    await expect.poll(() => rig.isReady(), { timeout: 20_000 }).toBe(true);
    return rig;
  }

  async function readyOf(path: string): Promise<string> {
    const object = await server.api.expect('GET', `${RESOURCES}/${path}`);
    // The cast is sound: the schema of the kind says so.
    const status = object['status'] as { conditions?: { type: string; status: string; reason: string }[] } | undefined;
    const ready = status?.conditions?.find(({ type }) => type === 'Ready');
    return `${ready?.status} ${ready?.reason}`;
  }

  const web = `
apiVersion: countersign.dev/v1alpha1
kind: ClusterWorkloadIdentity
metadata: { name: web }
spec:
  spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/pod/{{ .PodMeta.Name }}"
  podSelector: { matchLabels: { app: web } }
  ttl: 30m
`;

  test('a pod gets its entry, and loses it when it goes', async () => {
    await start();
    await server.applyYaml(web);
    const pod = await createPod(server, { name: 'web-0', node: 'node-1', labels: { app: 'web' } });
    await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/default/pod/web-0']);
    const [entry] = await entriesAt(ca.socket);
    expect(entry?.id).toMatch(/^main\.[0-9a-f-]{36}$/);
    expect(entry?.parentId?.path).toBe(`/spire/agent/k8s_psat/main/${nodeUid}`);
    expect(entry?.selectors.map(({ type, value }) => `${type}:${value}`)).toEqual([`k8s:pod-uid:${pod.metadata.uid}`]);
    expect(entry?.x509SvidTtl).toBe(1800);
    expect(entry?.countersignWorkload).toMatchObject({ namespace: 'default', serviceAccount: 'default' });
    await expect.poll(() => readyOf('clusterworkloadidentities/web')).toBe('True InForce');
    const { status } = await server.api.expect('GET', `${RESOURCES}/clusterworkloadidentities/web`);
    expect(status).toMatchObject({ observedGeneration: 1, stats: { podsSelected: 1, entriesToSet: 1, entryFailures: 0 } });
    await deletePod(server, 'default', 'web-0');
    await expect.poll(() => pathsAt(ca.socket)).toEqual([]);
  });

  test('a change of settings updates the entry in place', async () => {
    await start();
    await server.applyYaml(web);
    await createPod(server, { name: 'web-1', node: 'node-1', labels: { app: 'web' } });
    await expect.poll(() => pathsAt(ca.socket)).toHaveLength(1);
    const [before] = await entriesAt(ca.socket);
    const spec = {
      ttl: '20m',
      dnsNameTemplates: ['{{ .PodMeta.Name }}.example.org'],
      jwtClaims: { team: '{{ .PodMeta.Namespace }}' },
    };
    await server.api.expect('PATCH', `${RESOURCES}/clusterworkloadidentities/web`, { spec }, MERGE);
    await expect.poll(async () => (await entriesAt(ca.socket))[0]?.x509SvidTtl).toBe(1200);
    const [after] = await entriesAt(ca.socket);
    expect(after?.id).toBe(before?.id);
    expect(after?.dnsNames).toEqual(['web-1.example.org']);
    expect(after?.countersignJwtClaims).toEqual({ team: 'default' });
    await deletePod(server, 'default', 'web-1');
  });

  test('a template that reads more than is kept has the pods loaded again', async () => {
    await start();
    await server.applyYaml(web);
    await createPod(server, { name: 'web-2', node: 'node-1', labels: { app: 'web' }, annotations: { team: 'blue' } });
    await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/default/pod/web-2']);
    const spec = {
      spiffeIDTemplate: 'spiffe://example.org/{{ index .PodMeta.Annotations "team" }}/{{ (index .PodSpec.Containers 0).Name }}',
    };
    await server.api.expect('PATCH', `${RESOURCES}/clusterworkloadidentities/web`, { spec }, MERGE);
    await expect.poll(() => pathsAt(ca.socket)).toEqual(['/blue/main']);
    await deletePod(server, 'default', 'web-2');
  });

  test('an unscheduled pod has no entry until it is bound', async () => {
    await start();
    await server.applyYaml(web);
    await createPod(server, { name: 'web-3', labels: { app: 'web' } });
    await expect.poll(() => readyOf('clusterworkloadidentities/web')).toBe('True InForce');
    expect(await pathsAt(ca.socket)).toEqual([]);
    await server.api.expect('POST', '/api/v1/namespaces/default/pods/web-3/binding', {
      metadata: { name: 'web-3' },
      target: { apiVersion: 'v1', kind: 'Node', name: 'node-1' },
    });
    await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/default/pod/web-3']);
    await deletePod(server, 'default', 'web-3');
  });

  test('a WorkloadIdentity lies below the path of its namespace', async () => {
    await start('workloadIdentities: { paths: { default: /teams/blue } }');
    await server.applyYaml(`
apiVersion: countersign.dev/v1alpha1
kind: WorkloadIdentity
metadata: { name: api, namespace: default }
spec: { pathTemplate: "sa/{{ .PodSpec.ServiceAccountName }}", podSelector: { matchLabels: { app: api } } }
`);
    await createPod(server, { name: 'api-0', node: 'node-1', labels: { app: 'api' } });
    await expect.poll(() => pathsAt(ca.socket)).toEqual(['/teams/blue/sa/default']);
    await deletePod(server, 'default', 'api-0');
  });

  test('static identities and federation, and what becomes of them', async () => {
    await start();
    await server.applyYaml(`
apiVersion: countersign.dev/v1alpha1
kind: StaticIdentity
metadata: { name: batch }
spec: { spiffeID: "spiffe://example.org/batch", parentID: "spiffe://example.org/node", selectors: ["unix:uid:1000"], federatesWith: [partner.test] }
`);
    await expect.poll(() => readyOf('staticidentities/batch')).toBe('False EntryRefused');
    await server.applyYaml(`
apiVersion: countersign.dev/v1alpha1
kind: FederatedTrustDomain
metadata: { name: partner }
spec:
  trustDomain: partner.test
  bundleEndpointURL: https://partner.test/bundle
  bundleEndpointProfile: { type: https_web }
  trustDomainBundle: '{"keys": []}'
`);
    await expect.poll(() => readyOf('federatedtrustdomains/partner')).toBe('True InForce');
    await expect.poll(() => readyOf('staticidentities/batch')).toBe('True InForce');
    const federation = ca.local(TrustDomain);
    expect(
      (await federation.listFederationRelationships({})).federationRelationships.map(({ trustDomain }) => trustDomain),
    ).toEqual(['partner.test']);
    await server.api.expect('DELETE', `${RESOURCES}/staticidentities/batch`);
    await expect.poll(() => pathsAt(ca.socket)).toEqual([]);
    await server.api.expect('DELETE', `${RESOURCES}/federatedtrustdomains/partner`);
    await expect.poll(async () => (await federation.listFederationRelationships({})).federationRelationships).toEqual([]);
  });

  test('a relationship that was made by hand stays, one whose resource went while no controller ran goes', async () => {
    const federation = ca.local(TrustDomain);
    const profile = { bundleEndpointProfile: { case: 'httpsWeb' as const, value: {} } };
    const byHand = { trustDomain: 'hand.test', bundleEndpointUrl: 'https://hand.test/', ...profile };
    await federation.batchCreateFederationRelationship({ federationRelationships: [byHand] });
    const rig = await start();
    await server.applyYaml(`
apiVersion: countersign.dev/v1alpha1
kind: FederatedTrustDomain
metadata: { name: other }
spec: { trustDomain: other.test, bundleEndpointURL: "https://other.test/bundle", bundleEndpointProfile: { type: https_web } }
`);
    const names = async () =>
      (await federation.listFederationRelationships({})).federationRelationships.map(({ trustDomain }) => trustDomain);
    await expect.poll(names).toEqual(['hand.test', 'other.test']);
    await rig[Symbol.asyncDispose]();
    await server.api.expect('DELETE', `${RESOURCES}/federatedtrustdomains/other`);
    await start();
    await expect.poll(names).toEqual(['hand.test']);
    await federation.batchDeleteFederationRelationship({ trustDomains: ['hand.test'] });
  });

  test('an unchanged restart writes nothing', async () => {
    const first = await start();
    await server.applyYaml(web);
    await createPod(server, { name: 'web-4', node: 'node-1', labels: { app: 'web' } });
    await expect.poll(() => readyOf('clusterworkloadidentities/web')).toBe('True InForce');
    await expect.poll(() => pathsAt(ca.socket)).toHaveLength(1);
    const [before] = await entriesAt(ca.socket);
    const object = await server.api.expect('GET', `${RESOURCES}/clusterworkloadidentities/web`);
    await first[Symbol.asyncDispose]();
    const second = await start();
    await expect.poll(() => second.metric('countersign_controller_leading'), { timeout: 30_000 }).toBe(1);
    await expect.poll(() => second.metric('countersign_controller_entries')).toBe(1);
    await expect.poll(() => second.metric('countersign_controller_queue_length')).toBe(0);
    expect(await entriesAt(ca.socket)).toEqual([before]);
    const again = await server.api.expect('GET', `${RESOURCES}/clusterworkloadidentities/web`);
    expect(again.metadata.resourceVersion).toBe(object.metadata.resourceVersion);
    // Nor has it listed anything twice: it knew the templates before it read the pods.
    expect(await second.metric('countersign_kubernetes_relists_total')).toBeNaN();
    await deletePod(server, 'default', 'web-4');
  });

  test('entries that somebody else made are left alone, and said to be in the way', async () => {
    const client = ca.local(Entry);
    const pod = await createPod(server, { name: 'web-5', node: 'node-1', labels: { app: 'web' } });
    const id = (path: string) => ({ trustDomain: 'example.org', path });
    const parentId = id(`/spire/agent/k8s_psat/main/${nodeUid}`);
    const inTheWay = {
      id: 'hand',
      parentId,
      spiffeId: id('/ns/default/pod/web-5'),
      selectors: [{ type: 'k8s', value: `pod-uid:${pod.metadata.uid}` }],
    };
    const other = { id: 'other.1', parentId, spiffeId: id('/elsewhere'), selectors: [{ type: 'unix', value: 'uid:1' }] };
    await client.batchCreateEntry({ entries: [inTheWay, other] });
    await start();
    await server.applyYaml(web);
    await expect.poll(() => readyOf('clusterworkloadidentities/web')).toBe('False EntryRefused');
    expect((await entriesAt(ca.socket)).map((entry) => entry.id)).toEqual(['other.1', 'hand']);
    await client.batchDeleteEntry({ ids: ['hand'] });
    await expect.poll(() => readyOf('clusterworkloadidentities/web')).toBe('True InForce');
    expect((await entriesAt(ca.socket)).map((entry) => entry.id)).toEqual(['other.1', expect.stringMatching(/^main\./)]);
    await client.batchDeleteEntry({ ids: ['other.1'] });
    await deletePod(server, 'default', 'web-5');
  });

  test('the API server goes away for a while and its history with it', async () => {
    const rig = await start();
    await server.applyYaml(web);
    await createPod(server, { name: 'web-6', node: 'node-1', labels: { app: 'web' } });
    await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/default/pod/web-6']);
    const [before] = await entriesAt(ca.socket);
    await server.stop();
    await expect.poll(() => rig.isReady(), { timeout: 20_000 }).toBe(false);
    expect(await entriesAt(ca.socket)).toEqual([before]);
    await server.restart();
    await createPod(server, { name: 'web-7', node: 'node-1', labels: { app: 'web' } });
    await server.compact();
    await expect.poll(() => pathsAt(ca.socket), { timeout: 60_000 }).toEqual(['/ns/default/pod/web-6', '/ns/default/pod/web-7']);
    expect((await entriesAt(ca.socket))[0]).toEqual(before);
    await deletePod(server, 'default', 'web-6');
    await deletePod(server, 'default', 'web-7');
    await expect.poll(() => pathsAt(ca.socket), { timeout: 60_000 }).toEqual([]);
  });

  test('two controllers with prefixes of their own share a CA', async () => {
    await createNamespace(server, 'second');
    await start();
    await start('clusterName: second\nleaderElection: { namespace: default, name: second }');
    await server.applyYaml(web);
    await createPod(server, { name: 'web-8', node: 'node-1', labels: { app: 'web' } });
    await expect
      .poll(async () => new Set((await entriesAt(ca.socket)).map(({ id }) => id.split('.')[0])))
      .toEqual(new Set(['main', 'second']));
    await deletePod(server, 'default', 'web-8');
  });

  test('why a pod has no identity is told in its events', async () => {
    await start();
    await server.applyYaml(web.replace('/pod/{{ .PodMeta.Name }}', '/{{ .PodMeta.Labels.team }}'));
    const pod = await createPod(server, { name: 'web-9', node: 'node-1', labels: { app: 'web' } });
    await expect.poll(() => readyOf('clusterworkloadidentities/web')).toBe('False RenderFailed');
    const notes = async () => {
      const { items } = await server.api.expect('GET', '/apis/events.k8s.io/v1/namespaces/default/events');
      // The cast is sound: a list of Events.
      return (items as { note: string; regarding: { uid?: string } }[])
        .filter(({ regarding }) => regarding.uid === pod.metadata.uid)
        .map(({ note }) => note);
    };
    await expect.poll(notes).toEqual([expect.stringContaining('no SPIFFE ID')]);
    await deletePod(server, 'default', 'web-9');
  });
});
