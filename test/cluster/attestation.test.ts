// Which pod, and which container of it, does a process belong to? Asked of a real kernel, with control groups that a real
// containerd made. Each pod has an identity of its own; each must get that one, and no other.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Cluster } from '../support/kubernetes/cluster.ts';
import { Installation, WORKLOAD_API } from '../support/kubernetes/installation.ts';
import { IDLE, podObject, TestNamespace } from '../support/kubernetes/pods.ts';
import { lacking, noCluster, useCluster, workloadImage } from '../support/kubernetes/use-cluster.ts';

const { address, volumes, volumeMounts } = WORKLOAD_API;
const FETCH = ['/usr/bin/workload', '-addr', address, '-timeout', '20s', 'fetch', 'x509'];

/** Imitates, below its own control groups, the path of another pod's container, and goes there. Then it asks. */
function impersonate(pod: string, container: string): string[] {
  const script = `
    const { mkdirSync, readdirSync, writeFileSync, existsSync } = require('node:fs');
    const root = '/sys/fs/cgroup';
    const trees = existsSync(root + '/cgroup.controllers') ? [root] : readdirSync(root).map((name) => root + '/' + name);
    let joined = 0;
    for (const tree of trees) {
      try {
        const path = tree + '/kubepods/besteffort/pod${pod}/${container}';
        mkdirSync(path, { recursive: true });
        writeFileSync(path + '/cgroup.procs', String(process.pid));
        joined += 1;
      } catch {}
    }
    process.title = 'victim';
    const { spawnSync } = require('node:child_process');
    const { stdout } = spawnSync(${JSON.stringify(FETCH[0])}, ${JSON.stringify(FETCH.slice(1))}, { encoding: 'utf8' });
    console.log(JSON.stringify({ joined, cgroup: require('node:fs').readFileSync('/proc/self/cgroup', 'utf8'), stdout }));
  `;
  return ['/usr/bin/node', '-e', script];
}

describe.skipIf(noCluster !== undefined)(`attestation of pods${lacking}`, () => {
  let cluster: Cluster;
  let installation: Installation;
  let image: string;
  let namespace: TestNamespace;
  beforeAll(async () => {
    cluster = await useCluster();
    installation = await Installation.ready(cluster);
    image = await workloadImage();
    namespace = await TestNamespace.fresh(cluster, 'attestation');
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  /** A pod with the Workload API that does nothing by itself. */
  const pod = (
    podName: string,
    spec: Readonly<Record<string, unknown>> = {},
    container: Readonly<Record<string, unknown>> = {},
  ) => podObject({ name: podName, image, command: IDLE, container: { volumeMounts, ...container }, spec: { volumes, ...spec } });

  const register = (path: string, ...selectors: string[]) =>
    installation.register(`/${namespace.name}/${path}`, [`k8s:ns:${namespace.name}`, ...selectors]);

  const idsOf = (output: string): string[] => {
    // The cast is sound: the program prints this form.
    const { svids } = JSON.parse(output) as { readonly svids: readonly { readonly id: string }[] };
    return svids.map(({ id }) => id.replace(`spiffe://cluster.local/${namespace.name}/`, ''));
  };

  const fetchIn = async (podName: string, container = 'main'): Promise<string[]> => {
    const attempt = (): Promise<string[]> =>
      namespace.exec(podName, FETCH, container).then(idsOf, (error: Error) => [error.message]);
    // What was registered a moment ago is on its way to the node.
    await expect.poll(attempt, { timeout: 10_000 }).not.toEqual([expect.stringContaining('PermissionDenied')]);
    return attempt();
  };

  it('tells pods of one service account apart, by name, label and UID', async () => {
    await namespace.apply(pod('blue'), pod('green'));
    await namespace.ready('pod/blue', 'pod/green');
    await register('blue', 'k8s:pod-name:blue');
    await register('green', `k8s:pod-uid:${await namespace.read('pod/green', '.metadata.uid')}`);
    await register('green-by-label', 'k8s:pod-label:app:green');
    expect(await fetchIn('blue')).toEqual(['blue']);
    expect((await fetchIn('green')).toSorted()).toEqual(['green', 'green-by-label']);
  });

  it('refuses a pod without an identity', async () => {
    await namespace.apply(pod('nobody'));
    await namespace.ready('pod/nobody');
    await expect(namespace.exec('nobody', FETCH)).rejects.toThrow('PermissionDenied');
  });

  it('tells init container, sidecar and main container of one pod apart', async () => {
    for (const container of ['first', 'sidecar', 'main'])
      await register(container, 'k8s:pod-name:three', `k8s:container-name:${container}`);
    const shared = { name: 'shared', mountPath: '/shared' };
    const keep = `require('node:fs').writeFileSync('/shared/first', require('node:child_process').execFileSync('${FETCH[0]}', ${JSON.stringify(FETCH.slice(1))}))`;
    const initContainers = [
      { name: 'first', image, command: ['/usr/bin/node', '-e', keep], volumeMounts: [...volumeMounts, shared] },
      { name: 'sidecar', image, command: IDLE, restartPolicy: 'Always', volumeMounts },
    ];
    const withShared = { initContainers, volumes: [...volumes, { name: 'shared', emptyDir: {} }] };
    await namespace.apply(pod('three', withShared, { volumeMounts: [...volumeMounts, shared] }));
    await namespace.ready('pod/three');
    const first = await namespace.exec('three', [
      '/usr/bin/node',
      '-p',
      `require('node:fs').readFileSync('/shared/first', 'utf8')`,
    ]);
    expect(idsOf(first)).toEqual(['first']);
    expect(await fetchIn('three', 'sidecar')).toEqual(['sidecar']);
    expect(await fetchIn('three')).toEqual(['main']);
  });

  it.each([
    ['process', 'hostPID'],
    ['network', 'hostNetwork'],
  ])('knows a pod that shares the %s namespace of its node (%s)', async (kind, field) => {
    await register(kind, `k8s:pod-name:${kind}`);
    await namespace.apply(pod(kind, { [field]: true }));
    await namespace.ready(`pod/${kind}`);
    expect(await fetchIn(kind)).toEqual([kind]);
  });

  it('does not take a privileged container for another whose control group it imitates', async () => {
    await namespace.apply(
      pod('victim'),
      pod('impostor', {}, { securityContext: { privileged: true }, env: [{ name: 'HOSTNAME', value: 'victim' }] }),
    );
    await namespace.ready('pod/victim', 'pod/impostor');
    await register('victim', 'k8s:pod-name:victim');
    expect(await fetchIn('victim')).toEqual(['victim']);
    const uid = await namespace.read('pod/victim', '.metadata.uid');
    const container = (await namespace.read('pod/victim', '.status.containerStatuses[0].containerID')).replace(
      'containerd://',
      '',
    );
    const output = await namespace.exec('impostor', impersonate(uid, container));
    // The cast is sound: the script prints this form.
    const { joined, cgroup, stdout } = JSON.parse(output) as { joined: number; cgroup: string; stdout: string };
    expect(joined).toBeGreaterThan(0);
    expect(cgroup).toContain(`pod${uid}/${container}`);
    expect(stdout).toContain('"code":"PermissionDenied"');
  });

  it('does not give a pod what another of the same name had', async () => {
    await namespace.apply(pod('phoenix'));
    await namespace.ready('pod/phoenix');
    await register('phoenix', `k8s:pod-uid:${await namespace.read('pod/phoenix', '.metadata.uid')}`);
    expect(await fetchIn('phoenix')).toEqual(['phoenix']);
    await namespace.kubectl(['delete', 'pod', 'phoenix', '--wait']);
    await namespace.apply(pod('phoenix'));
    await namespace.ready('pod/phoenix');
    await expect(namespace.exec('phoenix', FETCH)).rejects.toThrow('PermissionDenied');
  });
});
