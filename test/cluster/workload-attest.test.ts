// Which pod is calling: this process stands for the agent, and real pods call it from cgroups that containerd and a kubelet made.
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWorkloadAttestors, workloadAttestorsConfig } from '../../agent/workload-attest/config.ts';
import { systemClock } from '../../core/clock.ts';
import { decode } from '../../core/decode.ts';
import { createLogger } from '../../runtime/log.ts';
import { AttestServer } from '../support/attest-server.ts';
import type { Cluster } from '../support/kubernetes/cluster.ts';
import { podObject, TestNamespace } from '../support/kubernetes/pods.ts';
import { lacking, noCluster, useCluster, workloadImage } from '../support/kubernetes/use-cluster.ts';

/** Asks the agent at once who this is, prints the answer on one line, and ends, or stays until it is told to end. */
const ASK = `
const { connect } = require('node:net');
const socket = connect('/agent/s', () => socket.write('?'));
socket.setEncoding('utf8').once('data', (text) => { console.log(text.trim()); if (process.argv[1] === 'end') process.exit(); });
process.on('SIGTERM', () => process.exit());
`;

/** First makes cgroups below its own, named as those of another pod, and moves into them. */
const PRETEND = `
const { mkdirSync, readdirSync, writeFileSync } = require('node:fs');
for (const hierarchy of readdirSync('/sys/fs/cgroup')) {
  const folder = '/sys/fs/cgroup/' + hierarchy + '/' + process.argv[1];
  try { mkdirSync(folder, { recursive: true }); writeFileSync(folder + '/cgroup.procs', String(process.pid)); console.error('moved'); }
  catch (error) { console.error(error.message); }
}
process.argv.splice(1, 1);
${ASK}`;

const node = (script: string, ...args: readonly string[]): readonly string[] => ['/usr/bin/node', '-e', script, ...args];

// Only the cluster that is made here shares this machine's processes and files.
const elsewhere = process.env['KUBECONFIG'] !== undefined;

describe.skipIf(noCluster !== undefined || elsewhere)(`pods as callers${lacking}`, () => {
  let cluster: Cluster;
  let image: string;
  let namespace: TestNamespace;
  let folder = '';
  let server: AttestServer;
  beforeAll(async () => {
    cluster = await useCluster();
    image = await workloadImage();
    namespace = await TestNamespace.create(cluster, `callers-${process.pid}`, { team: 'payments' });
    folder = await mkdtemp(join(tmpdir(), 'attest-cluster-'));
    await chmod(folder, 0o755);
    const k8s = { kubeconfig: cluster.state.kubeconfigFile, nodeName: 'node-1', waitFor: '20s' };
    const log = createLogger({ level: 'fatal', name: 'test' });
    const around = { clock: systemClock, log, environment: {} };
    server = new AttestServer(createWorkloadAttestors(decode(workloadAttestorsConfig('/'), { k8s }), around));
    await server.listen(join(folder, 's'));
    await chmod(join(folder, 's'), 0o777);
  });
  afterAll(async () => {
    await namespace?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
    if (folder !== '') await rm(folder, { recursive: true });
  });

  const volumes = () => [{ name: 'agent', hostPath: { path: folder } }];
  const volumeMounts = [{ name: 'agent', mountPath: '/agent' }];
  const asking = (name: string, ...args: readonly string[]) => ({ name, image, command: node(ASK, ...args), volumeMounts });

  async function start(name: string, { spec = {}, container = {}, command = node(ASK) }: Start = {}): Promise<string> {
    await namespace.apply(
      podObject({ name, image, command, container: { volumeMounts, ...container }, spec: { volumes: volumes(), ...spec } }),
    );
    await namespace.ready(`pod/${name}`);
    return namespace.read(`pod/${name}`, '.metadata.uid');
  }

  /** What a container was told that it is. */
  async function toldTo(pod: string, container = 'main'): Promise<readonly string[]> {
    const line = async (): Promise<string> =>
      (await namespace.kubectl(['logs', pod, '-c', container])).split('\n').find(isAnswer) ?? '';
    await expect.poll(line).not.toBe('');
    // The cast is sound: the server answers with a list of selectors or a code.
    return JSON.parse(await line()) as readonly string[];
  }

  test('a pod that asks as soon as it starts is answered with itself', async () => {
    const uid = await start('plain');
    expect(await toldTo('plain')).toEqual(
      expect.arrayContaining([
        `k8s:ns:${namespace.name}`,
        'k8s:ns-label:team:payments',
        'k8s:sa:default',
        'k8s:pod-name:plain',
        `k8s:pod-uid:${uid}`,
        'k8s:pod-label:app:plain',
        'k8s:node-name:node-1',
        'k8s:container-name:main',
        'k8s:pod-image-count:1',
        expect.stringMatching(/^k8s:container-image:.*@?sha256:[0-9a-f]{64}$/),
      ]),
    );
  });

  test('classes of service, the node’s processes and network make no difference', async () => {
    const resources = { limits: { cpu: '50m', memory: '64Mi' } };
    await start('guaranteed', { container: { resources } });
    await start('burstable', { container: { resources: { requests: { cpu: '10m' } } } });
    await start('host-pid', { spec: { hostPID: true } });
    await start('host-network', { spec: { hostNetwork: true } });
    for (const name of ['guaranteed', 'burstable', 'host-pid', 'host-network']) {
      expect(await toldTo(name)).toEqual(expect.arrayContaining([`k8s:pod-name:${name}`, 'k8s:container-name:main']));
    }
  });

  test('init containers, sidecars and ephemeral containers are told apart', async () => {
    const sidecar = { ...asking('proxy'), restartPolicy: 'Always' };
    await start('many', { spec: { initContainers: [asking('setup', 'end'), sidecar] } });
    const debugger_ = { ...asking('debugger'), targetContainerName: 'main' };
    const patch = JSON.stringify({ spec: { ephemeralContainers: [debugger_] } });
    await namespace.kubectl(['patch', 'pod', 'many', '--subresource', 'ephemeralcontainers', '--type', 'strategic', '-p', patch]);
    for (const container of ['setup', 'proxy', 'main', 'debugger']) {
      const found = await toldTo('many', container);
      expect(found).toEqual(expect.arrayContaining(['k8s:pod-name:many', `k8s:container-name:${container}`]));
      expect(found.filter((each) => each.startsWith('k8s:container-name:'))).toHaveLength(1);
    }
  });

  test('a privileged container that makes itself the cgroups of another pod stays itself', async () => {
    const uid = await start('victim');
    const container = (await namespace.read('pod/victim', '.status.containerStatuses[0].containerID')).replace(/^.*:\/\//, '');
    const command = node(PRETEND, `kubepods/besteffort/pod${uid}/${container}`);
    await start('pretender', { command, container: { securityContext: { privileged: true } } });
    const found = await toldTo('pretender');
    expect(await namespace.kubectl(['logs', 'pretender'])).toContain('moved');
    expect(found).toContain('k8s:pod-name:pretender');
    expect(found).not.toContain('k8s:pod-name:victim');
  });

  test('a name that is used again belongs to the new pod', async () => {
    const first = await start('reused');
    expect(await toldTo('reused')).toContain(`k8s:pod-uid:${first}`);
    await namespace.kubectl(['delete', 'pod', 'reused', '--wait']);
    const second = await start('reused');
    expect(second).not.toBe(first);
    expect(await toldTo('reused')).toContain(`k8s:pod-uid:${second}`);
  });

  test('a container that restarts is itself again', async () => {
    await start('restarting', { command: node(ASK, 'end') });
    await expect.poll(() => namespace.read('pod/restarting', '.status.containerStatuses[0].restartCount')).not.toBe('0');
    expect(await toldTo('restarting')).toContain('k8s:pod-name:restarting');
  });
});

interface Start {
  readonly spec?: object;
  readonly container?: object;
  readonly command?: readonly string[];
}

/** Whether a line is the server's answer: a list of selectors or a code. */
function isAnswer(line: string): boolean {
  return line.startsWith('[') || line.startsWith('"');
}
