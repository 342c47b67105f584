// The cluster itself: what the other suites take for granted.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { machineSettings } from '../support/kubernetes/cluster.ts';
import type { Cluster } from '../support/kubernetes/cluster.ts';
import { deploymentObject, IDLE, podObject, podTemplate, serviceObject, TestNamespace } from '../support/kubernetes/pods.ts';
import { lacking, noCluster, useCluster, workloadImage } from '../support/kubernetes/use-cluster.ts';

const SERVER = `require('node:http').createServer((_, answer) => answer.end(process.env.HOSTNAME)).listen(8080); console.log('listening');`;

describe.skipIf(noCluster !== undefined)(`the cluster${lacking}`, () => {
  let cluster: Cluster;
  let image: string;
  let namespace: TestNamespace;
  beforeAll(async () => {
    cluster = await useCluster();
    image = await workloadImage();
    namespace = await TestNamespace.fresh(cluster, 'cluster-itself');
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  it('spreads calls to a Service over the pods of a Deployment, from here and by its name from a pod', async () => {
    const pod = { name: 'web', image, command: ['/usr/bin/node', '-e', SERVER] };
    await namespace.apply(
      deploymentObject(pod, 2),
      serviceObject('web', 8080),
      podObject({ name: 'caller', image, command: IDLE }),
    );
    await namespace.rolledOut('deployment/web');
    const address = await namespace.read('service/web', '.spec.clusterIP');
    const names = new Set<string>();
    await expect
      .poll(
        async () => names.add(await (await fetch(`http://${address}:8080`, { headers: { connection: 'close' } })).text()).size,
      )
      .toBe(2);
    await namespace.ready('pod/caller');
    const call = `fetch('http://web.${namespace.name}.svc.cluster.local:8080').then((answer) => answer.text()).then(console.log)`;
    expect([...names]).toContain((await namespace.exec('caller', ['/usr/bin/node', '-e', call])).trim());
    expect(await namespace.kubectl(['logs', 'deployment/web'])).toBe('listening\n');
  });

  it('runs a DaemonSet on its node', async () => {
    const template = podTemplate({ name: 'everywhere', image, command: IDLE });
    const selector = { matchLabels: { app: 'everywhere' } };
    await namespace.apply({
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'everywhere' },
      spec: { selector, template },
    });
    await namespace.rolledOut('daemonset/everywhere');
    expect(await namespace.read('daemonset/everywhere', '.status.numberReady')).toBe('1');
  });

  it('projects a token for an audience, bound to the pod', async () => {
    const volumes = [
      {
        name: 'token',
        projected: { sources: [{ serviceAccountToken: { audience: 'spire-server', expirationSeconds: 600, path: 'token' } }] },
      },
    ];
    const volumeMounts = [{ name: 'token', mountPath: '/token' }];
    await namespace.apply(podObject({ name: 'proof', image, command: IDLE, container: { volumeMounts }, spec: { volumes } }));
    await namespace.ready('pod/proof');
    const token = await namespace.exec('proof', [
      '/usr/bin/node',
      '-p',
      `require('node:fs').readFileSync('/token/token', 'utf8')`,
    ]);
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    const pod = { name: 'proof', uid: await namespace.read('pod/proof', '.metadata.uid') };
    expect(claims).toMatchObject({
      aud: ['spire-server'],
      'kubernetes.io': { namespace: namespace.name, pod, node: { name: 'node-1' } },
    });
  });

  it('shows a hostPID pod the processes of the node, in control groups named by pod and container', async () => {
    await namespace.apply(podObject({ name: 'watcher', image, command: IDLE, spec: { hostPID: true } }));
    await namespace.ready('pod/watcher');
    const script = `require('node:fs').readFileSync('/proc/self/cgroup', 'utf8') + require('node:fs').readFileSync('/proc/1/comm', 'utf8')`;
    const seen = await namespace.exec('watcher', ['/usr/bin/node', '-p', script]);
    const uid = await namespace.read('pod/watcher', '.metadata.uid');
    const container = (await namespace.read('pod/watcher', '.status.containerStatuses[0].containerID')).replace(
      'containerd://',
      '',
    );
    expect(seen).toContain(`/kubepods/besteffort/pod${uid}/${container}`);
    expect(seen).toContain('bash');
  });

  it('leaves the settings of the machine alone', () => {
    const { settingsBefore = machineSettings() } = cluster.state;
    expect(machineSettings()).toEqual(settingsBefore);
  });
});
