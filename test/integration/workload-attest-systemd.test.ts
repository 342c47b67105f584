import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { WorkloadAttestor } from '../../agent/workload-attest/attestor.ts';
import { parseCgroups } from '../../agent/workload-attest/cgroup.ts';
import type { ProcessImage } from '../../agent/workload-attest/process-image.ts';
import { createSystemdAttestor } from '../../agent/workload-attest/systemd.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { busConfiguration, StandInSystemd } from '../support/stand-in-systemd.ts';
import { isInstalled } from '../support/toolchain.ts';

const never = new AbortController().signal;
const NGINX = { id: 'nginx.service', fragmentPath: '/lib/systemd/system/nginx.service' };
const SELECTORS = ['systemd:fragment_path:/lib/systemd/system/nginx.service', 'systemd:id:nginx.service'];

let folder = '';
let busPath = '';
let clock: ManualClock;
let attestor: WorkloadAttestor;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'systemd-'));
  busPath = join(folder, 'bus');
  clock = new ManualClock();
  attestor = createSystemdAttestor({ clock, systemBusSocketPath: busPath });
});
afterEach(async () => {
  attestor.close?.();
  await rm(folder, { recursive: true });
});

function processIn(path: string, pid = 42): ProcessImage {
  const text = `0::${path}\n`;
  return { pid, uid: 0, gid: 0, supplementaryGids: [], executable: undefined, cgroups: parseCgroups(text), text };
}

async function selectors(image: ProcessImage): Promise<readonly string[]> {
  return (await attestor.attest(image, never)).map(({ type, value }) => `${type}:${value}`).sort();
}

async function startBus(): Promise<ChildProcess> {
  const config = join(folder, 'bus.conf');
  await writeFile(config, busConfiguration(busPath));
  const bus = spawn('dbus-daemon', [`--config-file=${config}`, '--nofork', '--nopidfile', '--print-address'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(bus.stdout, 'data');
  return bus;
}

async function stop(bus: ChildProcess): Promise<void> {
  bus.kill('SIGKILL');
  await once(bus, 'exit');
}

describe.skipIf(!isInstalled('dbus-daemon'))('systemd attestor over a real bus (needs dbus-daemon)', () => {
  test('tells the unit, asks once for all processes of a cgroup, and again after 5 s', async () => {
    const bus = await startBus();
    using systemd = new StandInSystemd(busPath);
    await systemd.start();
    systemd.units.set(42, NGINX);
    expect(await selectors(processIn('/system.slice/nginx.service'))).toEqual(SELECTORS);
    expect(attestor.attest(processIn('/system.slice/nginx.service', 43), never)).not.toBeInstanceOf(Promise);
    expect(systemd.calls).toEqual(['GetUnitByPID', 'Get', 'Get']);
    clock.advance(5000);
    systemd.units.set(42, { ...NGINX, fragmentPath: '/etc/systemd/system/nginx.service' });
    expect(await selectors(processIn('/system.slice/nginx.service'))).toContain(
      'systemd:fragment_path:/etc/systemd/system/nginx.service',
    );
    await stop(bus);
  });

  test('a process of no unit has no selectors; in the root cgroup each is asked for itself', async () => {
    const bus = await startBus();
    using systemd = new StandInSystemd(busPath);
    await systemd.start();
    systemd.units.set(42, NGINX);
    expect(await selectors(processIn('/', 7))).toEqual([]);
    expect(await selectors(processIn('/', 42))).toEqual(SELECTORS);
    await stop(bus);
  });

  test('a bus without systemd is a failure, and no reason to hang', async () => {
    const bus = await startBus();
    await expect(selectors(processIn('/a'))).rejects.toMatchObject({
      code: 'unavailable',
      errorName: 'org.freedesktop.DBus.Error.ServiceUnknown',
    });
    await stop(bus);
  });

  test('a bus that comes back is connected again', async () => {
    const first = await startBus();
    await selectors(processIn('/a')).catch(() => {});
    await stop(first);
    await rm(busPath, { force: true });
    await expect.poll(() => selectors(processIn('/b')).catch((error: { code: string }) => error.code)).toBe('unavailable');
    const second = await startBus();
    using systemd = new StandInSystemd(busPath);
    await systemd.start();
    systemd.units.set(42, NGINX);
    clock.advance(1000);
    expect(await selectors(processIn('/c'))).toEqual(SELECTORS);
    await stop(second);
  });
});

describe('systemd attestor without a bus', () => {
  test('fails, then fails at once for a second', async () => {
    await expect(selectors(processIn('/a'))).rejects.toMatchObject({ code: 'unavailable' });
    expect(() => attestor.attest(processIn('/b'), never)).toThrow(expect.objectContaining({ code: 'unavailable' }));
    clock.advance(1000);
    await expect(selectors(processIn('/b'))).rejects.toMatchObject({ code: 'unavailable' });
  });

  test.each([
    ['refuses', 'REJECTED EXTERNAL\r\n'],
    ['speaks something else', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
    ['floods', 'x'.repeat(5000)],
    ['breaks off', ''],
    ['sends no D-Bus after the greeting', `OK 1234\r\n${'y'.repeat(64)}`],
  ])('a socket that %s is unavailable', async (_, answer) => {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => (answer === '' ? socket.destroy() : socket.write(answer)));
    }).listen(busPath);
    await once(server, 'listening');
    await expect(selectors(processIn('/a'))).rejects.toMatchObject({ code: 'unavailable' });
    server.close();
  });

  test('a socket that says nothing is waited for until the signal', async () => {
    const server = createServer((socket) => socket.on('error', () => {})).listen(busPath);
    await once(server, 'listening');
    const waiting = new AbortController();
    const found = attestor.attest(processIn('/a'), waiting.signal);
    waiting.abort(new Error('late'));
    await expect(found).rejects.toThrow('late');
    server.close();
  });
});
