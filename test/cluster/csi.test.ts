// The CSI driver with a real kubelet: registration, volumes of real pods, and agents that come and go.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Cluster } from '../support/kubernetes/cluster.ts';
import { podObject, TestNamespace } from '../support/kubernetes/pods.ts';
import { lacking, noCluster, productImage, useCluster, workloadImage } from '../support/kubernetes/use-cluster.ts';

// A name of its own, so that an installed driver is left alone.
const DRIVER = `csi-test-${process.pid}.countersign.dev`;
const SOCKETS = `/run/${DRIVER}`;

/** Stands for the agent: greets whoever connects. */
const GREET = `
const { chmodSync, rmSync } = require('node:fs');
rmSync('/sockets/api.sock', { force: true });
require('node:net').createServer((socket) => socket.end(process.argv[1])).listen('/sockets/api.sock', listening);
// As the agent's own: any process of the node may connect.
function listening() { chmodSync('/sockets/api.sock', 0o777); console.log('listening'); }
process.on('SIGTERM', () => process.exit());
`;
const HEAR = `
const socket = require('node:net').connect('/spiffe-workload-api/api.sock').setEncoding('utf8');
socket.on('data', (text) => console.log(text)).on('error', (error) => console.log(error.code));
`;
const IDLE = `setInterval(() => {}, 1 << 30); process.on('SIGTERM', () => process.exit());`;
const node = (script: string, ...args: readonly string[]): readonly string[] => ['/usr/bin/node', '-e', script, ...args];

describe.skipIf(noCluster !== undefined)(`csi driver${lacking}`, () => {
  let cluster: Cluster;
  let image: string;
  let system: TestNamespace;
  let workloads: TestNamespace;
  beforeAll(async () => {
    cluster = await useCluster();
    image = await workloadImage();
    system = await TestNamespace.create(cluster, `csi-system-${process.pid}`);
    const restricted = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    workloads = await TestNamespace.create(cluster, `csi-workloads-${process.pid}`, restricted);
    await system.apply(CSI_DRIVER, configMap(), driverPod(await productImage()));
    await system.ready('pod/driver');
  });
  afterAll(async () => {
    // Volumes are taken away by the driver only.
    await system?.apply(driverPod(await productImage()));
    await workloads?.kubectl(['delete', 'pod', '--all', '--grace-period=1', '--timeout=60s']);
    await workloads?.[Symbol.asyncDispose]();
    await cluster?.kubectl(['delete', 'csidriver', DRIVER, '--ignore-not-found']);
    await system?.[Symbol.asyncDispose]();
  });

  async function agent(name: string): Promise<void> {
    const volumes = [{ name: 'sockets', hostPath: { path: SOCKETS, type: 'DirectoryOrCreate' } }];
    const container = { volumeMounts: [{ name: 'sockets', mountPath: '/sockets' }] };
    await system.apply(podObject({ name, image, command: node(GREET, name), container, spec: { volumes } }));
    await expect.poll(() => system.kubectl(['logs', name]).catch(() => '')).toContain('listening');
  }

  function workload(name: string, csi: object = { readOnly: true }): object {
    const volumes = [{ name: 'spiffe', csi: { driver: DRIVER, ...csi } }];
    const volumeMounts = [{ name: 'spiffe', mountPath: '/spiffe-workload-api', readOnly: true }];
    const container = { volumeMounts, securityContext: CONTAINER_RESTRICTED };
    return podObject({ name, image, command: node(IDLE), container, spec: { volumes, securityContext: POD_RESTRICTED } });
  }

  const heard = async (pod: string): Promise<string> => (await workloads.exec(pod, node(HEAR))).trim();
  const mounts = async (): Promise<readonly string[]> =>
    (await cluster.kubectl(['exec', '-n', system.name, 'driver', '--', '/usr/bin/node', '-p', READ_MOUNTS]))
      .split('\n')
      .filter((line) => line.includes('kubernetes.io~csi') && line.includes(DRIVER));

  test('the kubelet takes it up', async () => {
    const drivers = (): Promise<string> =>
      cluster.kubectl(['get', 'csinodes', '-o', 'jsonpath={.items[*].spec.drivers[*].name}']);
    await expect.poll(drivers).toContain(DRIVER);
    await expect.poll(() => system.kubectl(['logs', 'driver'])).toContain('the kubelet uses the driver');
  });

  test('a pod of the level `restricted` reaches the agent, also one that started anew', async () => {
    await agent('agent-1');
    await workloads.apply(workload('web'));
    await workloads.ready('pod/web');
    expect(await heard('web')).toBe('agent-1');
    await system.kubectl(['delete', 'pod', 'agent-1', '--wait']);
    expect(await heard('web')).toBe('ECONNREFUSED');
    await agent('agent-2');
    expect(await heard('web')).toBe('agent-2');
    const write = `try { require('node:fs').writeFileSync('/spiffe-workload-api/x', ''); 'written' } catch (error) { error.code }`;
    expect((await workloads.exec('web', ['/usr/bin/node', '-p', write])).trim()).toMatch(/^(EROFS|EACCES)$/);
  });

  test('a driver that starts anew goes on with what is mounted', async () => {
    await system.kubectl(['delete', 'pod', 'driver', '--wait']);
    expect(await heard('web')).toBe('agent-2');
    await system.apply(driverPod(await productImage()));
    await system.ready('pod/driver');
    await expect.poll(() => system.kubectl(['logs', 'driver'])).toContain('the kubelet uses the driver');
    await workloads.apply(workload('api'));
    await workloads.ready('pod/api');
    expect(await heard('api')).toBe('agent-2');
  });

  test('nothing is left of pods that are gone', async () => {
    expect(await mounts()).not.toEqual([]);
    await workloads.kubectl(['delete', 'pod', '--all', '--wait', '--grace-period=1']);
    await expect.poll(mounts).toEqual([]);
  });

  test.each([
    ['writable', {}, 'readOnly: true'],
    ['with-attributes', { readOnly: true, volumeAttributes: { socket: '/etc' } }, 'the volume takes no attributes'],
    ['with-a-file-system', { readOnly: true, fsType: 'ext4' }, 'no fsType'],
  ])('a volume that is %s says why not, in an event of the pod', async (name, csi, text) => {
    await workloads.apply(workload(name, csi));
    const events = (): Promise<string> =>
      workloads.kubectl(['get', 'events', '--field-selector', `involvedObject.name=${name},reason=FailedMount`, '-o', 'yaml']);
    await expect.poll(events).toContain(text);
    await workloads.kubectl(['delete', 'pod', name, '--wait', '--grace-period=1']);
  });
});

const POD_RESTRICTED = { runAsNonRoot: true, runAsUser: 10001, seccompProfile: { type: 'RuntimeDefault' } };
const CONTAINER_RESTRICTED = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
const READ_MOUNTS = `require('node:fs').readFileSync('/proc/self/mountinfo', 'utf8')`;

const CSI_DRIVER = {
  apiVersion: 'storage.k8s.io/v1',
  kind: 'CSIDriver',
  metadata: { name: DRIVER, labels: { 'security.kubernetes.io/csi-ephemeral-volume-profile': 'restricted' } },
  spec: { attachRequired: false, podInfoOnMount: true, fsGroupPolicy: 'None', volumeLifecycleModes: ['Ephemeral'] },
};

function configMap(): object {
  const config = `driverNames: [${DRIVER}]\nsocketFolder: ${SOCKETS}\n`;
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'csi' }, data: { 'csi.yaml': config } };
}

function driverPod(image: string): object {
  const hostPath = (name: string, path: string) => ({ name, hostPath: { path, type: 'DirectoryOrCreate' } });
  const pods = '/var/lib/kubelet/pods';
  const own = `/var/lib/kubelet/plugins/${DRIVER}`;
  const registry = '/var/lib/kubelet/plugins_registry';
  const container = {
    command: undefined,
    args: ['csi', 'run', '--config', '/etc/csi/csi.yaml'],
    env: [{ name: 'MY_NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } }],
    securityContext: { privileged: true, runAsUser: 0 },
    volumeMounts: [
      { name: 'config', mountPath: '/etc/csi' },
      { name: 'sockets', mountPath: SOCKETS },
      { name: 'pods', mountPath: pods, mountPropagation: 'Bidirectional' },
      { name: 'own', mountPath: own },
      { name: 'registry', mountPath: registry },
    ],
  };
  const volumes = [
    { name: 'config', configMap: { name: 'csi' } },
    hostPath('sockets', SOCKETS),
    hostPath('pods', pods),
    hostPath('own', own),
    hostPath('registry', registry),
  ];
  return podObject({ name: 'driver', image, command: [], container, spec: { volumes } });
}
