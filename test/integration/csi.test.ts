// The CSI driver as a process of its own in a mount namespace of its own, called as a kubelet calls it.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../core/errors.ts';
import {
  Identity,
  Node,
  type VolumeCapabilitySchema,
  VolumeCapability_AccessMode_Mode as Mode,
} from '../../proto/gen/csi/v1/csi_pb.ts';
import { Registration } from '../../proto/gen/pluginregistration/registration_pb.ts';
import { systemClock } from '../../core/clock.ts';
import { connectGrpc, type GrpcConnection, toIdentityError } from '../../runtime/grpc-client.ts';
import { runToEnd } from '../support/command.ts';
import { DaemonProcess } from '../support/daemon-process.ts';

const UID = '2c48913c-b29f-11e7-9350-020968147796';
const OTHER = 'd488cae9-b2a0-11e7-9350-020968147796';
/** A request that differs from what a kubelet sends. */
interface Change {
  readonly volumeId?: string;
  readonly targetPath?: string;
  readonly stagingTargetPath?: string;
  readonly readonly?: boolean;
  readonly secrets?: Record<string, string>;
  readonly volumeContext?: Record<string, string>;
  readonly volumeCapability?: MessageInitShape<typeof VolumeCapabilitySchema>;
}

const CAPABILITY: MessageInitShape<typeof VolumeCapabilitySchema> = {
  accessType: { case: 'mount', value: {} },
  accessMode: { mode: Mode.SINGLE_NODE_WRITER },
};

const unshared = ['unshare', '--mount', '--propagation', 'private'];
const canMount = process.platform === 'linux' && process.getuid?.() === 0 && (await canUnshare());

async function canUnshare(): Promise<boolean> {
  const [program = '', ...args] = unshared;
  return runToEnd(program, [...args, 'mount', '-t', 'tmpfs', 'none', '/mnt']).then(
    ({ code }) => code === 0,
    () => false,
  );
}

describe.skipIf(!canMount)('csi driver (needs root and mount namespaces)', () => {
  let folder = '';
  /** Keeps the mount namespace, as a node does while its driver starts again. */
  let holder: ChildProcess;
  let driver: DaemonProcess;
  let connections: GrpcConnection[] = [];
  let node: Client<typeof Node>;
  let volume = 0;
  let target = '';

  const config = () => `
driverNames: [csi.countersign.dev, csi.spiffe.io]
socketFolder: ./sockets
kubeletFolder: ./kubelet
nodeName: worker-1
listen: { http: "127.0.0.1:0" }
`;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'csi-'));
    mkdirSync(join(folder, 'sockets'));
    const [program = '', ...args] = unshared;
    holder = spawn(program, [...args, 'sh', '-c', 'echo ready; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
    if (holder.stdout !== null) await once(holder.stdout, 'data');
    await start();
  });
  afterAll(async () => {
    await driver[Symbol.asyncDispose]();
    holder.kill();
    await once(holder, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(() => {
    target = targetOf(UID, `v${(volume += 1)}`);
  });

  async function start(): Promise<void> {
    driver = new DaemonProcess({ kind: 'csi', folder, config: config(), wrapper: inNamespace() });
    await driver.logged('csi driver is served');
    connections = [];
    node = client(Node, 'plugins/csi.countersign.dev/csi.sock');
  }

  function client<S extends Parameters<GrpcConnection['client']>[0]>(service: S, socket: string): Client<S> {
    const target = { kind: 'unix', path: join(folder, 'kubelet', socket) } as const;
    const connection = connectGrpc({ target, clock: systemClock });
    connections.push(connection);
    return connection.client(service);
  }

  function inNamespace(): readonly string[] {
    return ['nsenter', '-t', String(holder.pid), '-m'];
  }

  async function runInNamespace(...words: readonly string[]): Promise<void> {
    const [program = '', ...args] = inNamespace();
    expect(await runToEnd(program, [...args, ...words])).toMatchObject({ code: 0 });
  }

  /** What the kubelet makes before it asks. */
  function targetOf(uid: string, name: string): string {
    const parent = join(folder, 'kubelet', 'pods', uid, 'volumes', 'kubernetes.io~csi', name);
    mkdirSync(parent, { recursive: true });
    return join(parent, 'mount');
  }

  /** As a kubelet asks for an ephemeral volume, with `podInfoOnMount`. */
  function request({ volumeCapability = CAPABILITY, ...change }: Change = {}) {
    return {
      volumeId: 'csi-0123456789abcdef',
      targetPath: target,
      readonly: true,
      volumeCapability,
      volumeContext: { 'csi.storage.k8s.io/ephemeral': 'true', 'csi.storage.k8s.io/pod.uid': UID },
      ...change,
    };
  }

  const publish = (change?: Change) => node.nodePublishVolume(request(change));
  const unpublish = (targetPath = target) => node.nodeUnpublishVolume({ volumeId: 'csi-0123456789abcdef', targetPath });
  /** A path as pods on this node would see it. */
  const seen = (path: string) => `/proc/${holder.pid}/root${path}`;
  const mountsAt = (path: string) =>
    readFileSync(`/proc/${holder.pid}/mountinfo`, 'utf8')
      .split('\n')
      .map((line) => line.split(' '))
      .filter((fields) => fields[4] === path)
      .map((fields) => fields[5] ?? '');

  async function codeOf(call: Promise<unknown>): Promise<ErrorCode | undefined> {
    return call.then(
      () => undefined,
      (error: unknown) => toIdentityError(error).code,
    );
  }

  /** An agent, as far as the driver is concerned. */
  async function serveAgent(greeting: string): Promise<Server> {
    const path = join(folder, 'sockets', 'api.sock');
    rmSync(path, { force: true });
    const agent = createServer((socket) => socket.end(greeting)).listen(path);
    await once(agent, 'listening');
    return agent;
  }

  /** What the agent says, through the folder that a pod would have. */
  async function greetingIn(path: string): Promise<string> {
    // A socket's path must be short.
    const fd = openSync(seen(path), 'r');
    try {
      let text = '';
      for await (const chunk of connect(`/proc/self/fd/${fd}/api.sock`)) text += String(chunk);
      return text;
    } finally {
      closeSync(fd);
    }
  }

  test('mounts the agent’s folder read-only, and nothing in it may be executed or be a device', async () => {
    await publish();
    expect(mountsAt(target)).toHaveLength(1);
    expect(mountsAt(target)[0]?.split(',')).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev', 'noexec']));
    expect(() => writeFileSync(join(seen(target), 'x'), '')).toThrow('EROFS');
    await unpublish();
    expect([mountsAt(target), existsSync(seen(target))]).toEqual([[], false]);
  });

  test('an agent that starts again is reached through the same mount', async () => {
    await publish();
    let agent = await serveAgent('one');
    expect(await greetingIn(target)).toBe('one');
    agent.close();
    agent = await serveAgent('two');
    expect(await greetingIn(target)).toBe('two');
    agent.close();
    await unpublish();
  });

  test('may be asked again at any time, also at once', async () => {
    await Promise.all([publish(), publish(), publish()]);
    expect(mountsAt(target)).toHaveLength(1);
    await Promise.all([unpublish(), unpublish()]);
    await unpublish();
    expect(mountsAt(target)).toEqual([]);
    await unpublish(targetOf(OTHER, 'never').replace('never', 'gone'));
  });

  test('takes away what was mounted more than once', async () => {
    await publish();
    await runInNamespace('mount', '-t', 'tmpfs', 'none', target);
    expect(await codeOf(publish())).toBe('failed_precondition');
    await unpublish();
    expect([mountsAt(target), existsSync(seen(target))]).toEqual([[], false]);
  });

  test('a mount that was left writable is made read-only', async () => {
    await publish();
    await runInNamespace('mount', '-o', 'remount,bind,rw', target);
    expect(mountsAt(target)[0]).toMatch(/^rw/);
    await publish();
    expect(mountsAt(target)[0]).toMatch(/^ro/);
    await unpublish();
  });

  test('waits for nobody when the agent’s folder is missing', async () => {
    const sockets = join(folder, 'sockets');
    rmSync(sockets, { recursive: true });
    expect(await codeOf(publish())).toBe('unavailable');
    mkdirSync(sockets);
    await publish();
    await unpublish();
  });

  test.each<[string, Change]>([
    ['no volume', { volumeId: '' }],
    ['no path', { targetPath: '' }],
    ['no capability', { volumeCapability: {} }],
    ['a block device', { volumeCapability: { accessType: { case: 'block', value: {} }, accessMode: { mode: 1 } } }],
    [
      'a file system',
      { volumeCapability: { accessType: { case: 'mount', value: { fsType: 'ext4' } }, accessMode: { mode: 1 } } },
    ],
    [
      'options',
      { volumeCapability: { accessType: { case: 'mount', value: { mountFlags: ['exec'] } }, accessMode: { mode: 1 } } },
    ],
    ['no access mode', { volumeCapability: { accessType: { case: 'mount', value: {} } } }],
    ['many nodes', { volumeCapability: { accessType: { case: 'mount', value: {} }, accessMode: { mode: 5 } } }],
    ['writing', { readonly: false }],
    ['staging', { stagingTargetPath: '/tmp' }],
    ['secrets', { secrets: { a: 'b' } }],
    ['attributes', { volumeContext: { socket: '/etc' } }],
    ['a volume that is not ephemeral', { volumeContext: { 'csi.storage.k8s.io/ephemeral': 'false' } }],
    ['another pod', { volumeContext: { 'csi.storage.k8s.io/pod.uid': OTHER } }],
    ['a path elsewhere', { targetPath: '/etc' }],
    ['a path with a way up', { targetPath: '/var/lib/kubelet/pods/../../../etc' }],
  ])('refuses %s', async (_, change) => {
    expect(await codeOf(publish(change))).toBe('invalid_argument');
    expect(mountsAt(target)).toEqual([]);
  });

  test.each(['', '/', '/etc', '/proc'])('refuses to unmount %j', async (path) => {
    expect(await codeOf(unpublish(path))).toBe('invalid_argument');
  });

  test('follows no link, neither at the path nor on the way to it', async () => {
    const elsewhere = mkdtempSync(join(folder, 'elsewhere-'));
    symlinkSync(elsewhere, target);
    expect([await codeOf(publish()), await codeOf(unpublish())]).toEqual(['failed_precondition', 'failed_precondition']);
    expect(lstatSync(target).isSymbolicLink()).toBe(true);
    const pod = join(folder, 'kubelet', 'pods', OTHER);
    rmSync(pod, { recursive: true, force: true });
    mkdirSync(join(elsewhere, 'volumes', 'kubernetes.io~csi', 'v'), { recursive: true });
    symlinkSync(elsewhere, pod);
    const path = join(pod, 'volumes', 'kubernetes.io~csi', 'v', 'mount');
    expect(await codeOf(publish({ targetPath: path, volumeContext: {} }))).toBe('failed_precondition');
    expect(await codeOf(unpublish(path))).toBe('failed_precondition');
    rmSync(pod);
  });

  test('what is not empty is kept when it is not a mount', async () => {
    mkdirSync(target);
    writeFileSync(join(target, 'precious'), '');
    expect(await codeOf(unpublish())).toBe('failed_precondition');
    expect(existsSync(join(target, 'precious'))).toBe(true);
  });

  test('tells the kubelet what it is, under both names, and hears whether it is used', async () => {
    for (const name of ['csi.countersign.dev', 'csi.spiffe.io']) {
      const registration = client(Registration, `plugins_registry/${name}-reg.sock`);
      const info = await registration.getInfo({});
      const endpoint = join(folder, 'kubelet', 'plugins', name, 'csi.sock');
      expect(info).toMatchObject({ type: 'CSIPlugin', name, endpoint, supportedVersions: ['1.0.0'] });
      const identity = client(Identity, `plugins/${name}/csi.sock`);
      expect(await identity.getPluginInfo({})).toMatchObject({ name });
      expect(await identity.probe({})).toMatchObject({ ready: true });
      expect(await client(Node, `plugins/${name}/csi.sock`).nodeGetInfo({})).toMatchObject({ nodeId: 'worker-1' });
      const from = driver.lines.length;
      await registration.notifyRegistrationStatus({ pluginRegistered: false, error: 'busy' });
      await driver.logged('the kubelet refused the driver', from);
      await registration.notifyRegistrationStatus({ pluginRegistered: true });
      await driver.logged('the kubelet uses the driver', from);
    }
  });

  test('its sockets are for root alone, and go with it; what is mounted stays usable through a restart', async () => {
    const socket = join(folder, 'kubelet', 'plugins', 'csi.countersign.dev', 'csi.sock');
    expect(lstatSync(socket).mode & 0o777).toBe(0o600);
    await publish();
    expect(await driver.kill('SIGKILL')).toBeNull();
    for (const connection of connections) connection[Symbol.dispose]();
    const agent = await serveAgent('still here');
    expect(await greetingIn(target)).toBe('still here');
    agent.close();
    await start();
    await publish();
    expect(mountsAt(target)).toHaveLength(1);
    await unpublish();
    for (const connection of connections) connection[Symbol.dispose]();
    expect(await driver.kill('SIGTERM')).toBe(0);
    expect(existsSync(socket)).toBe(false);
    await start();
  });

  test('stays small', async () => {
    for (let round = 0; round < 20; round += 1) {
      await publish();
      await unpublish();
    }
    // Most of it is the program itself, shared with every other Node process of the node.
    expect(driver.residentMib()).toBeLessThan(130);
  });
});
