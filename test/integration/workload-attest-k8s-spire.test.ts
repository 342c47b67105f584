// The same pod, told to SPIRE's own `k8s` attestor and to ours by the same kubelet: both must write the same selectors.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWorkloadAttestors, workloadAttestorsConfig } from '../../agent/workload-attest/config.ts';
import { systemClock } from '../../core/clock.ts';
import { decode } from '../../core/decode.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { createLogger } from '../../runtime/log.ts';
import { CaProcess } from '../support/ca-process.ts';
import { COMMAND, runToEnd } from '../support/command.ts';
import { spireBinaries, startSpireAgent } from '../support/spire.ts';
import { StandInKubelet } from '../support/stand-in-kubelet.ts';

const UID = '2c48913c-b29f-11e7-9350-020968147796';
const [WEB, SETUP] = ['9bca8d63'.repeat(8), '34a2062f'.repeat(8)] as const;
const cgroups = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((root) => existsSync(join(root, 'cgroup.procs')));
const canRun = spireBinaries !== undefined && cgroups !== undefined && process.geteuid?.() === 0;

const status = (name: string, id: string) => ({
  name,
  containerID: `containerd://${id}`,
  image: `registry.example/${name}:1.27`,
  imageID: `registry.example/${name}@sha256:${'ab'.repeat(32)}`,
});

const POD = {
  metadata: {
    uid: UID,
    name: 'web-6658cb9566-5n4b4',
    namespace: 'shop',
    labels: { app: 'web', 'app.kubernetes.io/part-of': 'shop', empty: '' },
    ownerReferences: [
      {
        apiVersion: 'apps/v1',
        kind: 'ReplicaSet',
        name: 'web-6658cb9566',
        uid: '349d135e-3781-43e3-bc25-c900aedf1d0c',
        controller: true,
      },
      { apiVersion: 'example.org/v1', kind: 'Shop', name: 'main', uid: '561fd272-d131-47ef-a01b-46a997a778f3' },
    ],
  },
  spec: { nodeName: 'worker-1', serviceAccountName: 'web', containers: [] },
  status: {
    containerStatuses: [status('web', WEB), status('helper', 'c'.repeat(64))],
    initContainerStatuses: [status('setup', SETUP)],
  },
};

describe.skipIf(!canRun)('selectors of pods (needs SPIRE_BIN, root and cgroup v2)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sk-'));
  const root = join(cgroups ?? '', `countersign-spire-${process.pid}`);
  let kubelet: StandInKubelet;
  let ca: CaProcess;
  beforeAll(async () => {
    kubelet = await StandInKubelet.listen();
    kubelet.pods = [POD];
    ca = await CaProcess.start();
  });
  afterAll(async () => {
    await kubelet[Symbol.asyncDispose]();
    await ca[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  test.each([
    ['a container', WEB],
    ['an init container', SETUP],
  ])('of %s are SPIRE’s, to the letter', async (name, id) => {
    const path = `kubepods/burstable/pod${UID}/${id}`;
    expect(await ours(`/${path}`)).toEqual(await theirs(path, name.replaceAll(' ', '-')));
  });

  async function ours(path: string): Promise<readonly string[]> {
    const k8s = { source: 'kubelet', kubelet: { readOnlyPort: kubelet.port } };
    const around = { clock: systemClock, log: createLogger({ level: 'fatal', name: 'test' }), environment: {} };
    const [attestor] = createWorkloadAttestors(decode(workloadAttestorsConfig('/'), { k8s }), around);
    const cgroup = { hierarchy: '0', controllers: '', path };
    const image = { pid: 1, uid: 0, gid: 0, supplementaryGids: [], executable: undefined, cgroups: [cgroup], text: '' };
    const selectors = (await attestor?.attest(image, new AbortController().signal)) ?? [];
    attestor?.close?.();
    return selectors.map(({ value }) => value).toSorted();
  }

  /** What a SPIRE agent says in its log about a process in this cgroup that asks for its identity. */
  async function theirs(path: string, name: string): Promise<readonly string[]> {
    using admin = ca.connect();
    const { value: joinToken } = await admin.client(Agent).createJoinToken({ ttl: 60 });
    const own = join(folder, name);
    await mkdir(own);
    const plugins = `WorkloadAttestor "k8s" { plugin_data { kubelet_read_only_port = ${kubelet.port} node_name = "worker-1" } }`;
    await using agent = await startSpireAgent({ folder: own, server: `127.0.0.1:${ca.grpcPort}`, joinToken, plugins });
    const level = ['logger', 'set', '-level', 'debug', '-socketPath', agent.admin.replace('unix:', '')];
    expect(await runToEnd(join(spireBinaries ?? '', 'spire-agent'), level)).toMatchObject({ code: 0 });
    await callIn(path, agent.workloadApi.replace('unix:', ''));
    const line = readFileSync(join(own, 'log'), 'utf8')
      .split('\n')
      .find((each) => each.includes('PID attested to have selectors') && each.includes('pod-name'));
    return [...(line ?? '').matchAll(/type:\\"k8s\\" +value:\\"((?:[^"\\])*)\\"/g)].map(([, value = '']) => value).toSorted();
  }

  async function callIn(path: string, socket: string): Promise<void> {
    const cgroup = join(root, path);
    await mkdir(cgroup, { recursive: true });
    const move = ['-c', `echo $$ > ${cgroup}/cgroup.procs && exec "$0" "$@"`];
    const fetch = [process.execPath, COMMAND, 'fetch', 'x509', '--socket', socket];
    // It has no entry, so it is refused, after it was attested.
    expect((await runToEnd('sh', [...move, ...fetch])).code).not.toBe(0);
    for (let rest = path; ; rest = rest.slice(0, rest.lastIndexOf('/'))) {
      await rmdir(join(root, rest));
      if (!rest.includes('/')) break;
    }
    await rmdir(root);
  }
});
