import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { WorkloadAttestor } from '../../../../agent/workload-attest/attestor.ts';
import { parseCgroups } from '../../../../agent/workload-attest/cgroup.ts';
import { createDockerAttestor, type DockerAttestorOptions } from '../../../../agent/workload-attest/docker.ts';
import type { ProcessImage } from '../../../../agent/workload-attest/process-image.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { dockerContainer, dockerImage, StandInEngine } from '../../../support/stand-in-engine.ts';

const A = 'a1'.repeat(32);
const B = 'b2'.repeat(32);
const DIGEST = `sha256:${'9f'.repeat(32)}`;
const IMAGE_PATH = '/images/registry.example.org:5000/team/web:1.27/json';
const never = new AbortController().signal;

let folder = '';
let engine: StandInEngine;
let clock: ManualClock;
let attestor: WorkloadAttestor;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'docker-'));
  engine = new StandInEngine();
  await engine.listen(join(folder, 'docker.sock'));
  clock = new ManualClock();
  attestor = create();
});
afterEach(async () => {
  attestor.close?.();
  await engine[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

function create(options: Partial<DockerAttestorOptions> = {}): WorkloadAttestor {
  return createDockerAttestor({ clock, dockerSocketPath: join(folder, 'docker.sock'), procRoot: folder, ...options });
}

function processIn(...paths: readonly string[]): ProcessImage {
  const text = paths.map((path, index) => `${index}:${index === 0 ? '' : `c${index}`}:${path}\n`).join('');
  return { pid: 42, uid: 0, gid: 0, supplementaryGids: [], executable: undefined, cgroups: parseCgroups(text), text };
}

async function firstProcess(pid: number, cgroup: string): Promise<void> {
  await mkdir(join(folder, String(pid)), { recursive: true });
  await writeFile(join(folder, String(pid), 'cgroup'), cgroup);
}

async function selectors(image: ProcessImage): Promise<readonly string[]> {
  return (await attestor.attest(image, never)).map(({ type, value }) => `${type}:${value}`).sort();
}

async function codeOf(image: ProcessImage): Promise<unknown> {
  return selectors(image).then(
    () => 'no error',
    (error: { code?: unknown }) => error.code,
  );
}

describe('selectors', () => {
  test('labels, environment, image and digest', async () => {
    engine.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 7 }));
    engine.answers.set(IMAGE_PATH, dockerImage(DIGEST));
    await firstProcess(7, `0::/docker/${A}\n`);
    expect(await selectors(processIn(`/docker/${A}`))).toEqual([
      'docker:env:PATH=/usr/local/sbin:/usr/local/bin',
      'docker:env:TIER=front',
      `docker:image_config_digest:${DIGEST}`,
      'docker:image_id:registry.example.org:5000/team/web:1.27',
      'docker:label:maintainer:team: web',
      'docker:label:org.example.app:web',
    ]);
  });

  test('an image that is gone costs its digest only', async () => {
    engine.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 0, labels: {}, env: [], image: 'gone' }));
    expect(await selectors(processIn(`/docker/${A}`))).toEqual(['docker:image_id:gone']);
  });

  test('a process outside of containers has none, and nobody is asked', async () => {
    expect(await selectors(processIn('/system.slice/nginx.service', '/'))).toEqual([]);
    expect(engine.requests).toEqual([]);
  });

  test('the version of the API is asked for when it is configured', async () => {
    attestor = create({ dockerVersion: '1.43' });
    engine.answers.set(`/v1.43/containers/${A}/json`, dockerContainer({ id: A, pid: 0, labels: {}, env: [], image: '' }));
    expect(await selectors(processIn(`/docker/${A}`))).toEqual([]);
    expect(engine.requests).toEqual([`/v1.43/containers/${A}/json`]);
  });

  test('null labels and environment are none', async () => {
    engine.answers.set(`/containers/${A}/json`, { Config: { Labels: null, Env: null, Image: '' }, State: null });
    expect(await selectors(processIn(`/docker/${A}`))).toEqual([]);
  });
});

describe('answers', () => {
  test('are remembered for a minute, and given at once', async () => {
    engine.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 0, image: '' }));
    const image = processIn(`/docker/${A}`);
    await Promise.all([selectors(image), selectors(image)]);
    expect(attestor.attest(image, never)).not.toBeInstanceOf(Promise);
    expect(engine.requests).toHaveLength(1);
    clock.advance(60_000);
    await attestor.attest(image, never);
    expect(engine.requests).toHaveLength(2);
  });

  test('failures are repeated for a second without asking', async () => {
    const image = processIn(`/docker/${A}`);
    expect(await codeOf(image)).toBe('not_found');
    expect(() => attestor.attest(image, never)).toThrow(expect.objectContaining({ code: 'not_found' }));
    clock.advance(1000);
    engine.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 0, image: '' }));
    expect(await codeOf(image)).toBe('no error');
  });
});

describe('hostile and broken input', () => {
  test('a cgroup elsewhere that carries the name of a container is not it', async () => {
    engine.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 7 }));
    await firstProcess(7, `0::/system.slice/docker-${A}.scope\n`);
    expect(await codeOf(processIn(`/system.slice/docker-${A}.scope`))).toBe('no error');
    expect(await codeOf(processIn(`/system.slice/runner.service/docker-${A}.scope`))).toBe('permission_denied');
  });

  test('a container that names itself another one within its own part is what the engine made it', async () => {
    engine.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 0, labels: { is: 'a' }, env: [], image: '' }));
    engine.answers.set(`/containers/${B}/json`, dockerContainer({ id: B, pid: 0, labels: { is: 'b' }, env: [], image: '' }));
    expect(await selectors(processIn(`/docker/${A}/docker/${B}`))).toEqual(['docker:label:is:a']);
  });

  test("names below a user's own part are not believed", async () => {
    engine.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 0 }));
    const path = `/user.slice/user-1000.slice/user@1000.service/app.slice/docker-${A}.scope`;
    expect(await codeOf(processIn(path))).toBe('permission_denied');
    expect(await codeOf(processIn(path.replace('docker-', 'libpod-')))).toBe('permission_denied');
    expect(engine.requests).toEqual([]);
  });

  test('hierarchies that disagree are refused', async () => {
    expect(await codeOf(processIn(`/docker/${A}`, `/docker/${B}`))).toBe('permission_denied');
    engine.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 0 }));
    expect(await codeOf(processIn('/', `/docker/${A}`, `/docker/${A}`))).toBe('no error');
  });

  test('a container that does not run has no process', async () => {
    engine.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 0, running: false }));
    expect(await codeOf(processIn(`/docker/${A}`))).toBe('permission_denied');
  });

  test.each([
    ['no JSON', 'it works'],
    ['a list', []],
    ['no configuration', { Id: A }],
    ['labels that are no texts', { Config: { Labels: { a: 1 } } }],
    ['an environment that is no list', { Config: { Env: 'A=b' } }],
    ['5 MiB', `"${'x'.repeat(5 * 1024 * 1024)}"`],
  ])('an engine that answers with %s has no selectors', async (_, answer) => {
    engine.answers.set(`/containers/${A}/json`, answer);
    expect(await codeOf(processIn(`/docker/${A}`))).toBeOneOf(['unavailable', 'resource_exhausted']);
  });

  test('an engine that does not answer is waited for until the signal', async () => {
    engine.answers.set(`/containers/${A}/json`, 'hang');
    const waiting = new AbortController();
    const found = attestor.attest(processIn(`/docker/${A}`), waiting.signal);
    await expect.poll(() => engine.requests.length).toBe(1);
    waiting.abort();
    await expect(found).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('no engine at all is unavailable', async () => {
    attestor = create({ dockerSocketPath: join(folder, 'none.sock') });
    expect(await codeOf(processIn(`/docker/${A}`))).toBe('unavailable');
  });
});

describe('podman', () => {
  test('as root has a socket of its own', async () => {
    await using podman = new StandInEngine();
    await podman.listen(join(folder, 'podman.sock'));
    podman.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 0, labels: { by: 'podman' }, env: [], image: '' }));
    attestor = create({ podmanSocketPath: join(folder, 'podman.sock') });
    expect(await selectors(processIn(`/machine.slice/libpod-${A}.scope/container`))).toEqual(['docker:label:by:podman']);
    expect(await selectors(processIn(`/libpod_parent/libpod-${A}`))).toEqual(['docker:label:by:podman']);
    expect(engine.requests).toEqual([]);
    attestor.close?.();
  });

  test('of a user is asked where the template says', async () => {
    await using podman = new StandInEngine();
    await podman.listen(join(folder, '1000.sock'));
    podman.answers.set(`/containers/${A}/json`, dockerContainer({ id: A, pid: 0, labels: { by: 'user' }, env: [], image: '' }));
    attestor = create({ podmanSocketPathTemplate: join(folder, '%d.sock') });
    const path = `/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-${A}.scope/container`;
    expect(await selectors(processIn(path))).toEqual(['docker:label:by:user']);
    attestor.close?.();
  });
});
