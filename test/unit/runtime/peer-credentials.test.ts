import { spawn } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isIdentityError } from '../../../core/errors.ts';
import { type Kernel, KernelError, openKernel } from '../../../runtime/kernel.ts';
import { assertPeerCredentialsWork, PeerProcess } from '../../../runtime/peer-credentials.ts';

const onLinux = process.platform === 'linux';

describe.skipIf(!onLinux)('peer credentials (needs Linux)', () => {
  let folder = '';
  let server: Server;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'peer-'));
    server = createServer().listen(join(folder, 's'));
    await once(server, 'listening');
  });
  afterAll(async () => {
    server.close();
    await rm(folder, { recursive: true });
  });

  /** A connection of this process to itself: the accepted end and the end that connected. */
  async function connection(): Promise<{ accepted: Socket; ours: Socket }> {
    const accepted = once(server, 'connection').then(([socket]) => (socket instanceof Socket ? socket : undefined));
    const ours = connect(join(folder, 's'));
    await once(ours, 'connect');
    const socket = await accepted;
    if (socket === undefined) throw new Error('no socket');
    return { accepted: socket, ours };
  }

  function pidfds(): number {
    return readdirSync('/proc/self/fd').filter((name) => isPidfd(name)).length;
  }

  test('tells this process, alive', async () => {
    const { accepted, ours } = await connection();
    using peer = PeerProcess.ofSocket(accepted);
    expect(peer.credentials).toEqual({ pid: process.pid, uid: process.geteuid?.(), gid: process.getegid?.() });
    expect(peer.isAlive()).toBe(true);
    ours.destroy();
    accepted.destroy();
  });

  test('lets go of the process when the socket closes, and only once', async () => {
    const before = pidfds();
    const { accepted, ours } = await connection();
    const peer = PeerProcess.ofSocket(accepted);
    expect(pidfds()).toBe(before + 1);
    accepted.destroy();
    await once(accepted, 'close');
    expect(pidfds()).toBe(before);
    expect(peer.isAlive()).toBe(false);
    peer.close();
    ours.destroy();
    expect(pidfds()).toBe(before);
  });

  test('refuses a socket that is closed already', async () => {
    const { accepted, ours } = await connection();
    accepted.destroy();
    expect(codeOf(() => PeerProcess.ofSocket(accepted))).toBe('permission_denied');
    ours.destroy();
  });

  test('opens the process itself on kernels that give no pidfd of a socket', async () => {
    const { accepted, ours } = await connection();
    using peer = PeerProcess.ofSocket(accepted, kernelWith({ peerPidfd: () => undefined }));
    expect(peer.pid).toBe(process.pid);
    expect(peer.isAlive()).toBe(true);
    accepted.destroy();
    ours.destroy();
  });

  test.each([
    ['a foreign pid namespace', { peerCredentials: () => ({ pid: 0, uid: 0, gid: 0 }) }, 'permission_denied'],
    ['a pidfd of another process', { peerCredentials: () => ({ pid: 1, uid: 0, gid: 0 }) }, 'permission_denied'],
    ['a process that was reaped', { peerPidfd: () => failing(3) }, 'permission_denied'],
    ['no descriptor left', { peerPidfd: () => failing(24) }, 'unavailable'],
  ] as const)('refuses on %s, and leaks nothing', async (_, change, code) => {
    const before = pidfds();
    const { accepted, ours } = await connection();
    expect(codeOf(() => PeerProcess.ofSocket(accepted, kernelWith(change)))).toBe(code);
    expect(pidfds()).toBe(before);
    accepted.destroy();
    ours.destroy();
  });

  test('names a process by pid and sees its end', async () => {
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    using peer = PeerProcess.ofPid(child.pid ?? 0);
    expect(peer.credentials).toBeUndefined();
    expect(peer.isAlive()).toBe(true);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(peer.isAlive()).toBe(false);
  });

  test.each([
    [0, 'invalid_argument'],
    [-1, 'invalid_argument'],
    [1.5, 'invalid_argument'],
    [2 ** 31, 'invalid_argument'],
    [2 ** 31 - 1, 'not_found'],
  ])('refuses the pid %s', (pid, code) => {
    expect(codeOf(() => PeerProcess.ofPid(pid))).toBe(code);
  });

  test('the start-up test passes here, and leaves no descriptor', async () => {
    const before = readdirSync('/proc/self/fd').length;
    assertPeerCredentialsWork();
    await expect.poll(() => readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before);
  });

  test.each([
    ['names another process', { peerCredentials: () => ({ pid: 1, uid: 0, gid: 0 }) }],
    ['names another user', { peerCredentials: () => ({ pid: process.pid, uid: 4242, gid: 0 }) }],
    ['says that the living are dead', { isReadable: () => true }],
    ['knows no such option', { peerCredentials: () => failing(92) }],
  ])('the start-up test fails when the kernel %s', (_, change) => {
    expect(codeOf(() => assertPeerCredentialsWork(kernelWith(change)))).toBe('failed_precondition');
  });
});

function isPidfd(fd: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).includes('pidfd');
  } catch {
    return false;
  }
}

function kernelWith(change: Partial<Kernel>): Kernel {
  const kernel = openKernel();
  const real: Kernel = {
    peerCredentials: (fd) => kernel.peerCredentials(fd),
    peerPidfd: (fd) => kernel.peerPidfd(fd),
    openPidfd: (pid) => kernel.openPidfd(pid),
    isReadable: (fd) => kernel.isReadable(fd),
    fileIdentity: (path) => kernel.fileIdentity(path),
    tryLock: (fd) => kernel.tryLock(fd),
    socketPair: () => kernel.socketPair(),
    close: (fd) => kernel.close(fd),
  };
  return { ...real, ...change };
}

function failing(errno: number): never {
  throw new KernelError('test', errno);
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return isIdentityError(error) ? error.code : 'no IdentityError';
  }
  return 'no error';
}
