// What fails in the middle of the controller's work: no entry is lost, none is doubled.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CaProcess } from '../support/ca-process.ts';
import { ControllerRig, entriesAt, pathsAt } from '../support/controller-rig.ts';
import { HeldSocket } from '../support/held-socket.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { createNode, createPod } from '../support/kubernetes/stand-in-node.ts';
import { RunningCa } from '../support/running-ca.ts';

const PODS = 300;
const IDENTITY = `
apiVersion: countersign.dev/v1alpha1
kind: ClusterWorkloadIdentity
metadata: { name: all }
spec: { spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/{{ .PodMeta.Name }}" }
`;

function podsYaml(count: number): string {
  const pod = (index: number): string => `---
apiVersion: v1
kind: Pod
metadata: { name: pod-${index}, namespace: shop, uid: uid-${index} }
spec: { nodeName: n1 }
`;
  const node = '---\napiVersion: v1\nkind: Node\nmetadata: { name: n1, uid: node-1 }\n';
  return [node, ...Array.from({ length: count }, (_, index) => pod(index))].join('');
}

const expectedPaths = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => `/pod-${index}`).toSorted(byText);

function byText(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

describe('the CA', () => {
  test('is killed while entries are being made, and started again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'controller-faults-'));
    const resources = join(folder, 'resources');
    mkdirSync(resources);
    writeFileSync(join(resources, 'all.yaml'), IDENTITY + podsYaml(3000));
    const first = await CaProcess.start({ folder });
    await using held = new HeldSocket(first.socket);
    // In the middle of the first batches.
    held.holdAfter(60_000);
    await using rig = await ControllerRig.start({ socket: held.path, resourcesDir: resources });
    await expect.poll(() => held.isHolding, { timeout: 20_000 }).toBe(true);
    expect(await rig.isReady()).toBe(true);
    await first.stop('SIGKILL');
    held.release();
    await using second = await CaProcess.start({ folder });
    await expect.poll(async () => (await pathsAt(second.socket)).length, { timeout: 60_000 }).toBe(3000);
    expect((await pathsAt(second.socket)).toSorted(byText)).toEqual(expectedPaths(3000));
    await second.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('has been changed behind the back of the controller', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'controller-faults-'));
    writeFileSync(join(folder, 'all.yaml'), IDENTITY + podsYaml(3));
    await using ca = await RunningCa.start();
    await using rig = await ControllerRig.start({ socket: ca.socket, resourcesDir: folder, yaml: 'driftCheck: 200ms' });
    await expect.poll(() => rig.isReady()).toBe(true);
    await expect.poll(() => pathsAt(ca.socket)).toHaveLength(3);
    const { Entry } = await import('../../proto/gen/spire/api/server/entry/v1/entry_pb.ts');
    const client = ca.local(Entry);
    const [gone, changed] = await entriesAt(ca.socket);
    await client.batchDeleteEntry({ ids: [gone?.id ?? ''] });
    await client.batchUpdateEntry({ entries: [{ id: changed?.id ?? '', hint: 'by hand' }], inputMask: { hint: true } });
    const id = (path: string) => ({ trustDomain: 'example.org', path });
    await client.batchCreateEntry({
      entries: [{ id: 'main.extra', parentId: id('/p'), spiffeId: id('/extra'), selectors: [{ type: 'unix', value: 'uid:0' }] }],
    });
    await expect
      .poll(async () => (await entriesAt(ca.socket)).map(({ hint, spiffeId }) => `${spiffeId?.path} ${hint}`), {
        timeout: 20_000,
      })
      .toEqual(['/pod-0 ', '/pod-1 ', '/pod-2 ']);
    rmSync(folder, { recursive: true, force: true });
  });
});

describe('a second controller with the same prefix', () => {
  const EMPTY = '# nothing\n';
  const resources = new AsyncDisposableStack();
  let ca: RunningCa;

  beforeAll(async () => {
    ca = resources.use(await RunningCa.start());
  });
  afterAll(() => resources[Symbol.asyncDispose]());

  const folderOf = (yaml: string): string => {
    const folder = mkdtempSync(join(tmpdir(), 'controller-faults-'));
    resources.defer(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, 'all.yaml'), yaml);
    return folder;
  };
  const start = (resourcesDir: string, yaml = 'driftCheck: 200ms'): Promise<ControllerRig> =>
    ControllerRig.start({ socket: ca.socket, resourcesDir, yaml });
  const readiness = async ({ httpPort }: ControllerRig): Promise<string> =>
    (await fetch(`http://127.0.0.1:${httpPort}/readyz`)).text();
  const held = (rig: ControllerRig): Promise<number> => rig.metric('countersign_controller_entries_held');

  test('deletes nothing of the first, which still deletes its own', async () => {
    const folder = folderOf(IDENTITY + podsYaml(61));
    await using first = await start(folder);
    await expect.poll(() => pathsAt(ca.socket)).toHaveLength(61);
    const before = await entriesAt(ca.socket);
    expect(await readiness(first)).toContain('no deletion is held back');
    const empty = folderOf(EMPTY);
    expect((await ControllerRig.plan({ socket: ca.socket, resourcesDir: empty })).problems).toEqual([
      expect.stringContaining('massDeletion: allow'),
    ]);
    await using second = await start(empty);
    await expect.poll(() => held(second)).toBe(61);
    expect(await second.isReady()).toBe(true);
    expect(await readiness(second)).toContain('degraded: 61 entries at the CA begin with');
    // A new one of the first is left alone as well.
    writeFileSync(join(folder, 'all.yaml'), IDENTITY + podsYaml(62));
    await expect.poll(() => held(second)).toBe(62);
    expect((await entriesAt(ca.socket)).filter(({ id }) => before.some((each) => each.id === id))).toEqual(before);
    // All go by an event, while it runs: that is meant.
    writeFileSync(join(folder, 'all.yaml'), podsYaml(62));
    await expect.poll(() => pathsAt(ca.socket)).toHaveLength(0);
    await expect.poll(() => held(second)).toBe(0);
    expect(await readiness(second)).toContain('no deletion is held back');
  });

  test('and declarations of its own keeps what both declare', async () => {
    await using first = await start(folderOf(IDENTITY + podsYaml(15)));
    await expect.poll(() => pathsAt(ca.socket)).toHaveLength(15);
    const others = (IDENTITY + podsYaml(12)).replaceAll('pod-', 'other-').replaceAll('uid-', 'other-uid-');
    await using second = await start(folderOf(others));
    await expect.poll(() => held(second)).toBe(15);
    await expect.poll(() => held(first)).toBe(12);
    expect(await pathsAt(ca.socket)).toHaveLength(27);
  });

  test('what is left of a controller goes where that is allowed, or replaced', async () => {
    await using other = await start(
      folderOf((IDENTITY + podsYaml(27)).replace('.PodMeta.Name', '.PodMeta.UID')),
      'massDeletion: allow',
    );
    await expect.poll(async () => (await pathsAt(ca.socket)).every((path) => path.startsWith('/uid-'))).toBe(true);
    expect(await pathsAt(ca.socket)).toHaveLength(27);
    await other[Symbol.asyncDispose]();
    await using renamed = await start(folderOf(IDENTITY + podsYaml(27)));
    await expect.poll(async () => (await pathsAt(ca.socket)).toSorted(byText)).toEqual(expectedPaths(27));
    expect(await held(renamed)).toBe(0);
  });
});

describe.skipIf(kubernetesMissing() !== undefined)('replicas on an API server (needs go, or KUBEBUILDER_ASSETS)', () => {
  let server: TestApiServer;

  beforeAll(async () => {
    server = await TestApiServer.start({ crds: ['crds'] });
    await createNode(server, 'n1');
    for (let from = 0; from < PODS; from += 20) {
      await Promise.all(Array.from({ length: 20 }, (_, index) => createPod(server, { name: `pod-${from + index}`, node: 'n1' })));
    }
  });

  afterAll(() => server?.[Symbol.asyncDispose]());

  test('the leader loses its lease in the middle of a batch, which arrives late', async () => {
    await using ca = await RunningCa.start();
    await using held = new HeldSocket(ca.socket);
    const { kubeconfigFile } = server;
    const leader = await ControllerRig.start({ socket: held.path, kubeconfigFile });
    await expect.poll(() => leader.metric('countersign_controller_leading'), { timeout: 20_000 }).toBe(1);
    await using other = await ControllerRig.start({ socket: ca.socket, kubeconfigFile });
    await expect.poll(() => other.isReady(), { timeout: 20_000 }).toBe(true);
    held.holdAfter(10_000);
    await server.applyYaml(IDENTITY);
    await expect.poll(() => held.isHolding, { timeout: 20_000 }).toBe(true);
    const lease = '/apis/coordination.k8s.io/v1/namespaces/default/leases/countersign-controller';
    await server.api.expect(
      'PATCH',
      lease,
      { spec: { holderIdentity: 'somebody-else', leaseDurationSeconds: 1 } },
      'application/merge-patch+json',
    );
    await expect.poll(() => leader.metric('countersign_controller_leading'), { timeout: 30_000 }).toBe(0);
    // It would be a candidate again; what it sent is still on its way.
    await leader[Symbol.asyncDispose]();
    await expect.poll(() => other.metric('countersign_controller_leading'), { timeout: 60_000 }).toBe(1);
    await expect.poll(async () => (await pathsAt(ca.socket)).length, { timeout: 30_000 }).toBe(PODS);
    const before = await entriesAt(ca.socket);
    held.release();
    await expect.poll(() => other.metric('countersign_controller_queue_length')).toBe(0);
    expect((await pathsAt(ca.socket)).toSorted(byText)).toEqual(expectedPaths(PODS));
    expect(await entriesAt(ca.socket)).toEqual(before);
  });
});
