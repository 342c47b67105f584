import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, realpath, rm, rmdir, truncate, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { WorkloadAttestor } from '../../agent/workload-attest/attestor.ts';
import { createDockerAttestor } from '../../agent/workload-attest/docker.ts';
import { createUnixAttestor } from '../../agent/workload-attest/unix.ts';
import { systemClock } from '../../core/clock.ts';
import { attested, AttestServer } from '../support/attest-server.ts';
import { dockerContainer, StandInEngine } from '../support/stand-in-engine.ts';
import { canUnshare, pythonExecutable, UnixCaller } from '../support/unix-caller.ts';

const python = process.platform === 'linux' ? pythonExecutable() : undefined;
const isRoot = process.geteuid?.() === 0;
const unshares = python !== undefined && isRoot && canUnshare();
const cgroups = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((root) => existsSync(join(root, 'cgroup.procs')));
const clock = systemClock;

let folder = '';
let socketPath = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attest-'));
  socketPath = join(folder, 's');
  // Callers of other users have to reach the socket.
  await chmod(folder, 0o755);
});
afterEach(() => rm(folder, { recursive: true }));

async function serve(...attestors: readonly WorkloadAttestor[]): Promise<AttestServer> {
  const server = new AttestServer(attestors.length > 0 ? attestors : [createUnixAttestor({ clock, workloadSizeLimit: -1 })]);
  await server.listen(socketPath);
  await chmod(socketPath, 0o777);
  return server;
}

function caller(...wrapper: readonly string[]): UnixCaller {
  return new UnixCaller(python ?? '', socketPath, wrapper);
}

/** A copy of a program that waits, at a path of its own. */
async function sleeper(): Promise<{ path: string; sha256: string }> {
  const path = join(await realpath(folder), 'sleeper');
  await copyFile('/bin/sleep', path);
  return {
    path,
    sha256: createHash('sha256')
      .update(await readFile(path))
      .digest('hex'),
  };
}

describe.skipIf(python === undefined)('callers of one user (needs Linux and python3)', () => {
  test('a caller is told by uid, gid, path and digest', async () => {
    await using server = await serve(createUnixAttestor({ clock, workloadSizeLimit: 0 }));
    await using process = caller();
    const { pid } = await process.do('connect');
    const workload = await server.accept();
    const sha256 = createHash('sha256')
      .update(await readFile(python ?? ''))
      .digest('hex');
    expect(workload.pid).toBe(pid);
    expect(await attested(workload)).toEqual(expect.arrayContaining([`unix:path:${python}`, `unix:sha256:${sha256}`]));
  });

  test('while nothing changes the answer is the identical set, at once', async () => {
    await using server = await serve();
    await using process = caller();
    await process.do('connect');
    const workload = await server.accept();
    const { signal } = new AbortController();
    const first = await workload.attest(signal);
    expect(workload.attest(signal)).toBe(first);
  });

  test('what a caller executes on its connection is attested as itself', async () => {
    await using server = await serve(createUnixAttestor({ clock }));
    await using process = caller();
    const program = await sleeper();
    await process.do('connect');
    const workload = await server.accept();
    expect(await attested(workload)).toContain(`unix:path:${python}`);
    await process.do('execute', { command: [program.path, '60'] });
    await expect.poll(() => attested(workload)).toContain(`unix:path:${program.path}`);
    expect(await attested(workload)).toContain(`unix:sha256:${program.sha256}`);
    expect(await attested(workload)).not.toContain(`unix:path:${python}`);
  });

  test('a deleted executable keeps its digest but not its path', async () => {
    await using server = await serve(createUnixAttestor({ clock }));
    await using process = caller();
    const program = await sleeper();
    await process.do('connect');
    const workload = await server.accept();
    await process.do('execute', { command: [program.path, '60'] });
    await expect.poll(() => attested(workload)).toContain(`unix:path:${program.path}`);
    await unlink(program.path);
    const selectors = await attested(workload);
    expect(selectors).toEqual(expect.arrayContaining([`unix:path:${program.path} (deleted)`, `unix:sha256:${program.sha256}`]));
    expect(selectors).not.toContain(`unix:path:${program.path}`);
  });

  test('an executable above the size limit has no digest and is not read', async () => {
    await using server = await serve(createUnixAttestor({ clock }));
    await using process = caller();
    const program = await sleeper();
    await truncate(program.path, 1024 ** 3);
    await process.do('connect');
    const workload = await server.accept();
    await process.do('execute', { command: [program.path, '60'] });
    await expect.poll(() => attested(workload)).toContain(`unix:path:${program.path}`);
    const selectors = await attested(workload);
    expect(selectors).toEqual(expect.not.arrayContaining([expect.stringMatching(/^unix:sha256:/)]));
    expect(workload.attest(new AbortController().signal)).not.toBeInstanceOf(Promise);
  });

  test('a connection whose process died is refused, although a child holds it', async () => {
    await using server = await serve();
    await using process = caller();
    await process.do('connect');
    const workload = await server.accept();
    const exited = once(process.process, 'exit');
    const child = await process.do('fork_and_exit');
    await exited;
    expect(child.pid).not.toBe(workload.pid);
    expect(await attested(workload)).toBe('permission_denied');
  });

  test('a connection whose process is a zombie is refused', async () => {
    await using server = await serve();
    await using process = caller();
    const { pid } = await process.do('connect_as_zombie');
    const workload = await server.accept();
    expect(await readFile(`/proc/${pid}/stat`, 'utf8')).toContain(') Z ');
    expect(await attested(workload)).toBe('permission_denied');
  });

  test('10,000 connections leave no descriptor behind', async () => {
    await using server = await serve();
    await using process = caller();
    await process.do('connect');
    await attested(await server.accept());
    server.closeOldest();
    const before = readdirSync('/proc/self/fd').length;
    const count = 10_000;
    const all = process.do('connect_many', { count });
    for (let index = 0; index < count; index++) {
      const workload = await server.accept();
      expect(workload.pid).toBe(process.process.pid);
      await workload.attest(new AbortController().signal);
      server.closeOldest();
    }
    await all;
    await expect.poll(() => readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before);
  });
});

describe.skipIf(python === undefined || !isRoot)('callers of other users (needs Linux, python3 and root)', () => {
  const nobody = { uid: 65_534, gid: 65_534, groups: [] };

  test('supplementary groups and users without a name', async () => {
    await using server = await serve();
    await using process = caller();
    await process.do('change_user', { uid: 54_321, gid: 54_322, groups: [0, 54_323] });
    await process.do('connect');
    expect(await attested(await server.accept())).toEqual([
      'unix:gid:54322',
      `unix:path:${python}`,
      'unix:supplementary_gid:0',
      'unix:supplementary_gid:54323',
      'unix:supplementary_group:root',
      'unix:uid:54321',
    ]);
  });

  test('a process that became another user since it connected is refused, and known when it connects again', async () => {
    await using server = await serve();
    await using process = caller();
    await process.do('connect');
    const first = await server.accept();
    expect(await attested(first)).toContain('unix:uid:0');
    await process.do('change_user', nobody);
    expect(await attested(first)).toBe('permission_denied');
    await process.do('connect');
    expect(await attested(await server.accept())).toContain('unix:uid:65534');
  });

  test('a set-user-ID program does not lend its user to the connection of its caller', async () => {
    await using server = await serve();
    await using process = caller();
    const program = await sleeper();
    await chmod(program.path, 0o4755);
    await process.do('change_user', nobody);
    const { pid } = await process.do('connect');
    const workload = await server.accept();
    expect(await attested(workload)).toContain('unix:uid:65534');
    await process.do('execute', { command: [program.path, '60'] });
    await expect.poll(() => readFile(`/proc/${pid}/status`, 'utf8')).toContain('Uid:\t65534\t0\t');
    expect(await attested(workload)).toBe('permission_denied');
  });

  test('groups that a process gave up are gone with its next call', async () => {
    await using server = await serve();
    await using process = caller();
    await process.do('change_user', { uid: 0, gid: 0, groups: [54_323] });
    await process.do('connect');
    const workload = await server.accept();
    expect(await attested(workload)).toContain('unix:supplementary_gid:54323');
    await process.do('change_user', { uid: 0, gid: 0, groups: [] });
    expect(await attested(workload)).not.toContain('unix:supplementary_gid:54323');
  });

  test('65,536 supplementary groups are read whole', async () => {
    await using server = await serve();
    await using process = caller();
    const groups = Array.from({ length: 65_536 }, (_, index) => 1_000_000_000 + index);
    await process.do('change_user', { uid: 0, gid: 0, groups });
    await process.do('connect');
    const selectors = await attested(await server.accept());
    expect(selectors).toContain('unix:supplementary_gid:1000065535');
  });
});

describe.skipIf(!unshares)('pid namespaces (needs Linux, python3, root and unshare)', () => {
  test('a caller in a child namespace is told by its pid in ours', async () => {
    await using server = await serve();
    await using process = caller('unshare', '--pid', '--fork', '--kill-child');
    const { pid } = await process.do('connect');
    const workload = await server.accept();
    expect(pid).toBe(1);
    expect(workload.pid).toBeGreaterThan(1);
    expect(await attested(workload)).toContain(`unix:path:${python}`);
  });

  test('a caller in a foreign namespace is refused with the reason', async () => {
    const program = join(import.meta.dirname, '../support/attest-server.ts');
    const args = ['--pid', '--fork', '--kill-child', '--mount-proc', process.execPath, program, socketPath];
    const server = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(server.stdout, 'data');
    const socket = connect(socketPath);
    socket.write('?');
    const [answer] = await once(socket, 'data');
    expect(JSON.parse(String(answer))).toBe('permission_denied');
    socket.destroy();
    server.kill('SIGKILL');
    await once(server, 'exit');
  });

  test('a pid that another process got is not taken for the caller', async () => {
    const program = join(import.meta.dirname, '../support/pid-reuse.ts');
    const args = ['--pid', '--fork', '--mount-proc', process.execPath, program, python ?? '', socketPath];
    const run = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const output: Buffer[] = [];
    run.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    await once(run, 'close');
    const result = JSON.parse(Buffer.concat(output).toString());
    expect(result.before).toContain(`unix:path:${python}`);
    expect(result).toMatchObject({ dead: 'permission_denied', command: 'sleep', reused: 'permission_denied' });
  });
});

describe.skipIf(python === undefined || !isRoot || cgroups === undefined)(
  'containers (needs python3, root and cgroup v2)',
  () => {
    const id = 'c0ffee00'.repeat(8);

    test('a process in the cgroup of a container has the selectors of the container', async () => {
      const parent = join(cgroups ?? '', `countersign-test-${process.pid}`);
      const cgroup = join(parent, id);
      await mkdir(cgroup, { recursive: true });
      try {
        await using engine = new StandInEngine();
        await engine.listen(join(folder, 'engine'));
        const docker = createDockerAttestor({ clock, dockerSocketPath: join(folder, 'engine') });
        await using server = await serve(createUnixAttestor({ clock, workloadSizeLimit: -1 }), docker);
        await using process = caller();
        const { pid } = await process.do('connect');
        const workload = await server.accept();
        expect(await attested(workload)).toEqual(expect.not.arrayContaining([expect.stringMatching(/^docker:/)]));
        engine.answers.set(`/containers/${id}/json`, dockerContainer({ id, pid, labels: { app: 'web' }, env: [], image: 'web' }));
        await process.do('join_cgroup', { folder: cgroup });
        expect(await attested(workload)).toEqual(
          expect.arrayContaining([`unix:path:${python}`, 'docker:label:app:web', 'docker:image_id:web']),
        );
      } finally {
        await expect.poll(() => readFile(join(cgroup, 'cgroup.procs'), 'utf8')).toBe('');
        await rmdir(cgroup);
        await rmdir(parent);
      }
    });
  },
);
