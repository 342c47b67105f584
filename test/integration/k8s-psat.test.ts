// Node attestation by projected service-account tokens: our CA and our agent, and SPIRE's own with either of them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { systemClock } from '../../core/clock.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { connectGrpc } from '../../runtime/grpc-client.ts';
import { clusterMissing, ClusterOfPods, SYSTEM, type PodWithToken } from '../support/cluster-of-pods.ts';
import { createPod, deletePod } from '../support/kubernetes/stand-in-node.ts';
import { attestBy } from '../support/test-agent.ts';
import { failureOf, type RpcFailure } from '../support/rpc-failure.ts';
import { startTestAgent } from '../support/running-agent.ts';
import { RunningCa } from '../support/running-ca.ts';
import { spireBinaries, startSpireAgent, startSpireServer } from '../support/spire.ts';
import { createTestKey } from '../support/test-keys.ts';

describe.skipIf(clusterMissing !== undefined)('k8s_psat (needs go, or KUBEBUILDER_ASSETS)', () => {
  const resources = new AsyncDisposableStack();
  let cluster: ClusterOfPods;
  let ca: RunningCa;
  let folder = '';

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'psat-'));
    resources.defer(() => rmSync(folder, { recursive: true, force: true }));
    cluster = resources.use(await ClusterOfPods.start());
    const allowed = `serviceAccounts: ["${SYSTEM}:agent"], kubeconfig: ${cluster.kubeconfig}`;
    const labels = 'allowedNodeLabelKeys: [zone], allowedPodLabelKeys: [app]';
    ca = resources.use(
      await RunningCa.start({
        yaml: `attestors: { k8sPsat: { clusters: { main: { ${allowed}, ${labels} }, other: { ${allowed}, audience: [other-server] } } } }`,
      }),
    );
  });
  afterAll(() => resources[Symbol.asyncDispose]());

  const payload = (token: string, name = 'main'): Buffer => Buffer.from(JSON.stringify({ cluster: name, token }));
  const attest = (proof: Uint8Array) => attestBy(ca.remote(), { type: 'k8s_psat', payload: proof, key: createTestKey() });
  const failure = (proof: Uint8Array): Promise<RpcFailure> => failureOf(attest(proof));
  const agentPath = (node: 'node-1' | 'node-2', name = 'main'): string =>
    `/spire/agent/k8s_psat/${name}/${cluster.nodes[node].metadata.uid}`;
  const agentOn = (node: 'node-1' | 'node-2', labels = {}): Promise<PodWithToken> =>
    cluster.pod({ serviceAccount: 'agent', node, labels });

  test('names the agent after its node and gives the selectors of SPIRE', async () => {
    const pod = await agentOn('node-1', { app: 'agent', secret: 'y' });
    const { id } = await attest(payload(pod.token));
    expect(id?.path).toBe(agentPath('node-1'));
    const { selectors, attestationType, canReattest } = await ca
      .local(Agent)
      .getAgent({ id: { trustDomain: 'example.org', path: agentPath('node-1') } });
    expect({ attestationType, canReattest }).toEqual({ attestationType: 'k8s_psat', canReattest: true });
    expect(selectors.map(({ type, value }) => `${type}:${value}`).toSorted()).toEqual(
      [
        'cluster:main',
        `agent_ns:${SYSTEM}`,
        'agent_sa:agent',
        `agent_pod_name:${pod.name}`,
        `agent_pod_uid:${pod.uid}`,
        'agent_node_ip:127.0.0.1',
        'agent_node_name:node-1',
        `agent_node_uid:${cluster.nodes['node-1'].metadata.uid}`,
        'agent_node_label:zone:zone-of-node-1',
        'agent_pod_label:app:agent',
      ]
        .map((value) => `k8s_psat:${value}`)
        .toSorted(),
    );
  });

  test('attests the same live token again, and another pod of the node as the same agent', async () => {
    const pod = await agentOn('node-2');
    for (const { token } of [pod, pod, await agentOn('node-2')]) {
      expect((await attest(payload(token))).id?.path).toBe(agentPath('node-2'));
    }
  });

  test('tells clusters and their audiences apart', async () => {
    const pod = await agentOn('node-1');
    const forOther = await cluster.token(pod, 'agent', 'other-server');
    expect((await attest(payload(forOther, 'other'))).id?.path).toBe(agentPath('node-1', 'other'));
    expect(await failure(payload(forOther))).toMatchObject({ code: 'permission_denied' });
    expect(await failure(payload(pod.token, 'other'))).toMatchObject({ code: 'permission_denied' });
    const unknown = await failure(payload(pod.token, 'elsewhere'));
    expect(unknown).toMatchObject({ code: 'invalid_argument', message: expect.stringContaining('"elsewhere"') });
  });

  test('refuses a service account that is not on the list, and a token that is bound to no pod', async () => {
    const stranger = await cluster.pod({ serviceAccount: 'stranger' });
    const refused = await failure(payload(stranger.token));
    expect(refused).toMatchObject({ code: 'permission_denied', message: expect.stringContaining(`${SYSTEM}:stranger`) });
    const unbound = await cluster.server.kubectl(['-n', SYSTEM, 'create', 'token', 'agent', '--audience=spire-server']);
    expect(await failure(payload(unbound.trim()))).toMatchObject({
      code: 'permission_denied',
      message: expect.stringContaining('not bound to a pod'),
    });
  });

  test('refuses the token of a pod that is gone, is going, has finished or is another one by now', async () => {
    const gone = await agentOn('node-1');
    await deletePod(cluster.server, SYSTEM, gone.name);
    expect(await failure(payload(gone.token))).toMatchObject({ code: 'permission_denied' });
    await createPod(cluster.server, { namespace: SYSTEM, name: gone.name, serviceAccount: 'agent', node: 'node-1' });
    expect(await failure(payload(gone.token))).toMatchObject({ code: 'permission_denied' });

    const going = await agentOn('node-1');
    await cluster.server.kubectl(['-n', SYSTEM, 'delete', 'pod', going.name, '--wait=false']);
    const deleted = await failure(payload(going.token));
    expect(deleted).toMatchObject({ code: 'permission_denied', message: expect.stringContaining('being deleted') });

    const finished = await agentOn('node-1');
    const status = { status: { phase: 'Failed' } };
    const path = `/api/v1/namespaces/${SYSTEM}/pods/${finished.name}/status`;
    await cluster.server.api.expect('PATCH', path, status, 'application/merge-patch+json');
    const ended = await failure(payload(finished.token));
    expect(ended).toMatchObject({ code: 'permission_denied', message: expect.stringContaining('has finished') });
  });

  test('refuses what is no payload, without asking the API server', async () => {
    const { token } = await agentOn('node-1');
    for (const garbage of ['{', '[]', '"x"', '{}', '{"cluster":"main"}', `{"token":"${token}"}`, '{"cluster":1,"token":2}']) {
      expect(await failure(Buffer.from(garbage))).toMatchObject({ code: 'invalid_argument' });
    }
    expect(await failure(payload('x'.repeat(64 * 1024)))).toMatchObject({ code: 'invalid_argument' });
    expect(await failure(payload('not a token'))).toMatchObject({ code: 'invalid_argument' });
    const forged = `${token.slice(0, token.lastIndexOf('.'))}.${'A'.repeat(342)}`;
    const refused = await failure(payload(forged));
    expect(refused.code).toBe('permission_denied');
    expect(refused.message).not.toContain(token.slice(0, 40));
  });

  test('our agent attests, with the token that is in its file at that moment', async () => {
    const pod = await agentOn('node-2');
    const tokenFile = join(folder, 'token');
    writeFileSync(tokenFile, pod.token);
    await using agent = await startTestAgent(ca, { attestor: { k8sPsat: { cluster: 'main', tokenFile } } });
    await expect.poll(() => isAttested(agentPath('node-2'), pod.uid).catch(() => false)).toBe(true);
    expect(agent.socket).not.toBe('');
  });

  test('says that it cannot ask while the API server is away, and goes on when it is back', async () => {
    const { token } = await agentOn('node-1');
    await cluster.server.stop();
    expect(await failure(payload(token))).toMatchObject({ code: 'unavailable' });
    await cluster.server.restart();
    expect((await attest(payload(token))).id?.path).toBe(agentPath('node-1'));
  });

  test('says what the CA lacks when it may not review tokens', async () => {
    const kubeconfig = await cluster.server.userKubeconfig('nobody');
    const clusters = `{ main: { serviceAccounts: ["${SYSTEM}:agent"], kubeconfig: ${kubeconfig} } }`;
    await using powerless = await RunningCa.start({ yaml: `attestors: { k8sPsat: { clusters: ${clusters} } }` });
    const { token } = await agentOn('node-1');
    const proof = { type: 'k8s_psat', payload: payload(token) };
    const failed = await failureOf(attestBy(powerless.remote(), proof));
    expect(failed).toMatchObject({ code: 'unavailable', message: expect.stringContaining('tokenreviews') });
  });

  const isAttested = async (path: string, podUid: string): Promise<boolean> => {
    const { selectors } = await ca.local(Agent).getAgent({ id: { trustDomain: 'example.org', path } });
    return selectors.some(({ value }) => value === `agent_pod_uid:${podUid}`);
  };

  /** What a server knows of an agent, without what differs between two attestations. */
  const recordAt = async (socket: string, path: string) => {
    using connection = connectGrpc({ target: { kind: 'unix', path: socket }, clock: systemClock });
    const { id, attestationType, canReattest, selectors } = await connection
      .client(Agent)
      .getAgent({ id: { trustDomain: 'example.org', path } });
    return {
      path: id?.path,
      attestationType,
      canReattest,
      selectors: selectors.map(({ type, value }) => `${type}:${value}`).toSorted(),
    };
  };

  describe.skipIf(spireBinaries === undefined)('with SPIRE (needs SPIRE_BIN)', () => {
    test('[SPIRE agent] attests to our CA', async () => {
      const pod = await agentOn('node-1');
      const tokenFile = join(folder, 'spire-token');
      writeFileSync(tokenFile, pod.token);
      const home = mkdtempSync(join(folder, 'a-'));
      await using agent = await startSpireAgent({
        folder: home,
        server: `127.0.0.1:${ca.ca.grpcPort}`,
        plugins: `NodeAttestor "k8s_psat" { plugin_data { cluster = "main" token_path = "${tokenFile}" } }`,
      });
      expect(agent.pid).toBeGreaterThan(0);
      expect(await isAttested(agentPath('node-1'), pod.uid)).toBe(true);
    });

    test('[SPIRE server] takes our agent, under the same ID and selectors', async () => {
      const pod = await agentOn('node-2', { app: 'agent' });
      const tokenFile = join(folder, 'token-for-spire');
      writeFileSync(tokenFile, pod.token);
      const settings = `service_account_allow_list = ["${SYSTEM}:agent"] kube_config_file = "${cluster.kubeconfig}"`;
      const labels = 'allowed_node_label_keys = ["zone"] allowed_pod_label_keys = ["app"]';
      await using server = await startSpireServer({
        folder: mkdtempSync(join(folder, 's-')),
        plugins: `NodeAttestor "k8s_psat" { plugin_data { clusters = { "main" = { ${settings} ${labels} } } } }`,
      });
      const attestor = { k8sPsat: { cluster: 'main', tokenFile } };
      await using agent = await startTestAgent(ca, { server: server.address, attestor });
      expect(agent.socket).not.toBe('');
      const socket = server.admin.slice('unix:'.length);
      await expect.poll(() => failureOf(recordAt(socket, agentPath('node-2')))).toMatchObject({ code: 'ok' });
      const theirs = await recordAt(socket, agentPath('node-2'));
      await attest(payload(pod.token));
      const ours = await recordAt(ca.socket, agentPath('node-2'));
      expect(theirs).toEqual(ours);
    });
  });
});
