// Pods as callers: real processes in real cgroups, and a real API server that tells of the pods.
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createWorkloadAttestors, workloadAttestorsConfig } from '../../agent/workload-attest/config.ts';
import type { Workload } from '../../agent/workload-attest/attestation.ts';
import { systemClock } from '../../core/clock.ts';
import { decode } from '../../core/decode.ts';
import { createLogger } from '../../runtime/log.ts';
import { attested, AttestServer, type Attested } from '../support/attest-server.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { createNamespace, createNode, createPod, createServiceAccount, deletePod } from '../support/kubernetes/stand-in-node.ts';
import { canUnshare, pythonExecutable, UnixCaller } from '../support/unix-caller.ts';

const python = process.platform === 'linux' ? pythonExecutable() : undefined;
const isRoot = process.geteuid?.() === 0;
const v2 = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((root) => existsSync(join(root, 'cgroup.procs')));
const v1 = existsSync('/sys/fs/cgroup/pids/cgroup.procs') ? '/sys/fs/cgroup/pids' : undefined;
const missing = [
  python === undefined ? 'python3' : '',
  isRoot ? '' : 'root',
  v1 === undefined && v2 === undefined ? 'cgroups' : '',
  kubernetesMissing() ?? '',
].filter((each) => each !== '');

const NODE = 'worker-1';
const ROOT = `countersign-k8s-${process.pid}`;
const log = createLogger({ level: 'fatal', name: 'test' });
let ids = 0;
const newContainerId = (): string => (ids += 1).toString(16).padStart(64, 'c');

interface Labelled {
  readonly name: string;
  readonly uid: string;
}

describe.skipIf(missing.length > 0)(`pods as callers${missing.length > 0 ? ` (needs ${missing.join(', ')})` : ''}`, () => {
  const hierarchies = [v1, v2].filter((each) => each !== undefined);
  let api: TestApiServer;
  let kubeconfig = '';
  let folder = '';
  let server: AttestServer;

  beforeAll(async () => {
    // This process stands for the agent: its own cgroup tells where its kubelet works.
    for (const hierarchy of hierarchies) {
      await mkdir(join(hierarchy, ROOT, 'agent'), { recursive: true });
      await writeFile(join(hierarchy, ROOT, 'agent', 'cgroup.procs'), String(process.pid));
    }
    api = await TestApiServer.start();
    await createNode(api, NODE);
    await createNode(api, 'worker-2');
    await createNamespace(api, 'shop', { team: 'payments' });
    await createServiceAccount(api, 'shop', 'web');
    await createServiceAccount(api, 'default', 'default');
    await api.applyYaml(RBAC);
    kubeconfig = await api.userKubeconfig('agent');
  });
  afterAll(async () => {
    await api[Symbol.asyncDispose]();
    for (const hierarchy of hierarchies) {
      await writeFile(join(hierarchy, 'cgroup.procs'), String(process.pid));
      await removeCgroup(join(hierarchy, ROOT));
    }
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'attest-k8s-'));
    await chmod(folder, 0o755);
    server = await serve();
  });
  afterEach(async () => {
    await server[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  async function serve(options: object = {}): Promise<AttestServer> {
    const k8s = { kubeconfig, nodeName: NODE, waitFor: '2s', ...options };
    const config = decode(workloadAttestorsConfig('/'), { k8s });
    const serving = new AttestServer(createWorkloadAttestors(config, { clock: systemClock, log, environment: {} }));
    await serving.listen(join(folder, 's'));
    return serving;
  }

  /** A process in a cgroup below this test's own, with a connection to the agent. */
  async function caller(path: string, ...wrapper: readonly string[]): Promise<UnixCaller & { workload: Workload }> {
    const process = new UnixCaller(python ?? '', join(folder, 's'), wrapper);
    for (const hierarchy of hierarchies) {
      const cgroup = join(hierarchy, ROOT, path);
      await mkdir(cgroup, { recursive: true });
      await process.do('join_cgroup', { folder: cgroup });
    }
    await process.do('connect');
    return Object.assign(process, { workload: await server.accept() });
  }

  const inPod = ({ uid }: Labelled, container: string): string => `kubepods/burstable/pod${uid}/${container}`;

  async function pod(name: string, options: object = {}): Promise<Labelled> {
    const labels = { app: 'web' };
    const object = await createPod(api, { namespace: 'shop', serviceAccount: 'web', name, node: NODE, labels, ...options });
    return { name, uid: object.metadata.uid ?? '' };
  }

  /** What the kubelet writes once a container was made. */
  async function tell(name: string, status: object): Promise<void> {
    await api.api.expect('PATCH', `/api/v1/namespaces/shop/pods/${name}/status`, { status }, 'application/merge-patch+json');
  }

  const statusOf = (name: string, id: string) => ({
    name,
    containerID: `containerd://${id}`,
    image: `registry.example/${name}:1`,
    imageID: `registry.example/${name}@sha256:${'ab'.repeat(32)}`,
    ready: true,
    restartCount: 0,
    state: { running: { startedAt: '2026-01-01T00:00:00Z' } },
  });

  async function runningPod(name: string, id = newContainerId()): Promise<Labelled & { readonly id: string }> {
    const made = await pod(name);
    await tell(name, { containerStatuses: [statusOf('main', id)] });
    return { ...made, id };
  }

  const k8sSelectors = (found: Attested): readonly string[] => (typeof found === 'string' ? [found] : found);

  test('a container’s process is its pod, with the pod’s every selector', async () => {
    const { name, uid, id } = await runningPod('whole');
    await using process = await caller(inPod({ name, uid }, id));
    expect(await attested(process.workload)).toEqual(
      [
        'container-image:registry.example/main:1',
        `container-image:registry.example/main@sha256:${'ab'.repeat(32)}`,
        'container-name:main',
        `node-name:${NODE}`,
        'ns-label:kubernetes.io/metadata.name:shop',
        'ns-label:team:payments',
        'ns:shop',
        'pod-image-count:1',
        'pod-image:registry.example/main:1',
        `pod-image:registry.example/main@sha256:${'ab'.repeat(32)}`,
        'pod-init-image-count:0',
        'pod-label:app:web',
        'pod-name:whole',
        `pod-uid:${uid}`,
        'sa:web',
      ].map((value) => `k8s:${value}`),
    );
  });

  test('a process that calls before the API server knows its container is answered as soon as it does', async () => {
    const made = await pod('early');
    const id = newContainerId();
    await using process = await caller(inPod(made, id));
    const answer = attested(process.workload);
    await tell('early', { containerStatuses: [statusOf('main', id)] });
    expect(k8sSelectors(await answer)).toContain('k8s:container-name:main');
  });

  test('so is one that calls an agent which has only just started', async () => {
    const { id, ...made } = await runningPod('waiting');
    await server[Symbol.asyncDispose]();
    server = await serve();
    await using process = await caller(inPod(made, id));
    expect(k8sSelectors(await attested(process.workload))).toContain(`k8s:pod-uid:${made.uid}`);
  });

  test('init containers, sidecars and ephemeral containers are told apart', async () => {
    const spec = { initContainers: ['setup', 'proxy'].map((name) => ({ name, image: 'x', ...(name === 'proxy' && SIDECAR) })) };
    const made = await pod('many', { spec });
    const all = [newContainerId(), newContainerId(), newContainerId(), newContainerId()] as const;
    const patch = [{ op: 'add', path: '/spec/ephemeralContainers', value: [{ name: 'debugger', image: 'x' }] }];
    const subresource = '/api/v1/namespaces/shop/pods/many/ephemeralcontainers';
    await api.api.expect('PATCH', subresource, patch, 'application/json-patch+json');
    await tell('many', {
      containerStatuses: [statusOf('main', all[0])],
      initContainerStatuses: [statusOf('setup', all[1]), statusOf('proxy', all[2])],
      ephemeralContainerStatuses: [statusOf('debugger', all[3])],
    });
    for (const [index, name] of ['main', 'setup', 'proxy', 'debugger'].entries()) {
      await using process = await caller(inPod(made, all[index] ?? ''));
      const found = k8sSelectors(await attested(process.workload));
      expect(found).toEqual(expect.arrayContaining([`k8s:container-name:${name}`, 'k8s:pod-init-image-count:2']));
    }
  });

  test.skipIf(!canUnshare())('namespaces of the caller make no difference', async () => {
    const { id, ...made } = await runningPod('apart');
    for (const wrapper of [
      ['unshare', '--net'],
      ['unshare', '--pid', '--fork', '--net', '--mount'],
    ]) {
      await using process = await caller(inPod(made, id), ...wrapper);
      expect(k8sSelectors(await attested(process.workload))).toContain('k8s:pod-name:apart');
    }
  });

  test('a container that makes cgroups below its own stays itself', async () => {
    const [victim, evil] = [await runningPod('victim'), await runningPod('evil')];
    await using process = await caller(`${inPod(evil, evil.id)}/${inPod(victim, victim.id)}`);
    const found = k8sSelectors(await attested(process.workload));
    expect(found).toContain('k8s:pod-name:evil');
    expect(found).not.toContain('k8s:pod-name:victim');
  });

  test.each([
    ['a service', 'ci.service'],
    ['a user', 'user.slice/user-1000.slice/user@1000.service'],
    ['a container of Docker', `docker/${'d'.repeat(64)}`],
  ])('%s that makes cgroups like a kubelet’s is no pod', async (_, parent) => {
    const victim = await runningPod(`victim-of-${parent.replaceAll(/\W/g, '-').slice(0, 20)}`);
    await using process = await caller(`${parent}/${inPod(victim, victim.id)}`);
    expect(await attested(process.workload)).toEqual([]);
  });

  test('a process in no container, in one that the kubelet does not know, or in another pod’s has nothing', async () => {
    const [one, other] = [await runningPod('one'), await runningPod('other')];
    for (const path of [`kubepods/burstable/pod${one.uid}`, inPod(one, newContainerId()), inPod(one, other.id)]) {
      await using process = await caller(path);
      expect(await attested(process.workload)).toEqual([]);
    }
  });

  test('a pod of another node is nobody here', async () => {
    const id = newContainerId();
    const made = await pod('elsewhere', { node: 'worker-2' });
    await tell('elsewhere', { containerStatuses: [statusOf('main', id)] });
    await using process = await caller(inPod(made, id));
    expect(await attested(process.workload)).toEqual([]);
  });

  test('labels that change, a container that restarts, and a name that another pod takes', async () => {
    const { id, ...first } = await runningPod('fickle');
    await using process = await caller(inPod(first, id));
    expect(k8sSelectors(await attested(process.workload))).toContain('k8s:pod-label:app:web');
    const pods = '/api/v1/namespaces/shop/pods';
    await api.api.expect('PATCH', `${pods}/fickle`, { metadata: { labels: { app: 'api' } } }, 'application/merge-patch+json');
    await expect.poll(() => attested(process.workload)).toContain('k8s:pod-label:app:api');
    const again = newContainerId();
    await tell('fickle', { containerStatuses: [{ ...statusOf('main', again), restartCount: 1 }] });
    await using restarted = await caller(inPod(first, again));
    expect(k8sSelectors(await attested(restarted.workload))).toContain('k8s:container-name:main');
    await expect.poll(() => attested(process.workload)).toEqual([]);
    await deletePod(api, 'shop', 'fickle');
    const second = await runningPod('fickle');
    await using successor = await caller(inPod(second, second.id));
    expect(k8sSelectors(await attested(successor.workload))).toContain(`k8s:pod-uid:${second.uid}`);
    await expect.poll(() => attested(restarted.workload)).toEqual([]);
  });

  test('while the API server is away, known containers are attested, and new ones once it is back', async () => {
    const { id, ...known } = await runningPod('steady');
    const [made, newId] = [await pod('newcomer'), newContainerId()];
    await using process = await caller(inPod(known, id));
    expect(k8sSelectors(await attested(process.workload))).toContain('k8s:pod-name:steady');
    await api.stop();
    await using again = await caller(inPod(known, id));
    expect(k8sSelectors(await attested(again.workload))).toContain('k8s:pod-name:steady');
    await using newcomer = await caller(inPod(made, newId));
    expect(await attested(newcomer.workload)).toEqual([]);
    await api.restart();
    await tell('newcomer', { containerStatuses: [statusOf('main', newId)] });
    await expect.poll(() => attested(newcomer.workload), { timeout: 60_000 }).toContain('k8s:pod-name:newcomer');
  });
});

const SIDECAR = { restartPolicy: 'Always' };

const RBAC = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: agent }
rules:
  - { apiGroups: [''], resources: [pods, namespaces], verbs: [list, watch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: agent }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: agent }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: agent }]
`;

/** Removes a cgroup with all below it, once its processes have ended. */
async function removeCgroup(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeCgroup(join(path, entry.name));
  }
  await vi.waitFor(async () => expect(await readFile(join(path, 'cgroup.procs'), 'utf8')).toBe(''));
  await rmdir(path);
}
