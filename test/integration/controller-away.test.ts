// The controller while the API server or the CA is away at its start: it says why, and ends when it is told to.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { COMMAND, countersign } from '../support/command.ts';
import { ControllerRig } from '../support/controller-rig.ts';
import { freePort } from '../support/free-port.ts';
import { json, StandInApi, status } from '../support/kubernetes/stand-in-api.ts';
import { RunningCa } from '../support/running-ca.ts';

let ca: RunningCa;
let folder: string;
let port: number;

beforeAll(async () => {
  ca = await RunningCa.start();
  folder = mkdtempSync(join(tmpdir(), 'away-'));
  port = await freePort();
});
afterAll(async () => {
  await ca?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function kubeconfig(url = `https://127.0.0.1:${port}`): string {
  const file = join(folder, `kube-${new URL(url).port}.json`);
  const clusters = [{ name: 'c', cluster: { server: url, 'insecure-skip-tls-verify': url.startsWith('http:') } }];
  const contexts = [{ name: 'c', context: { cluster: 'c', user: 'u' } }];
  const users = [{ name: 'u', user: { token: 'x' } }];
  writeFileSync(file, JSON.stringify({ clusters, contexts, users, 'current-context': 'c' }));
  return file;
}

function words(socket: string, ...more: readonly string[]): string[] {
  const file = join(folder, 'controller.yaml');
  const lines = [`ca: { socket: "unix:${socket}" }`, `kubernetes: { kubeconfig: ${kubeconfig()} }`];
  writeFileSync(file, `trustDomain: example.org\n${lines.join('\n')}\n`);
  return ['controller', 'run', '--config', file, ...more];
}

test('a plan without the API server says what it waits for, and fails with the reason', async () => {
  const { code, stdout, stderr } = await countersign(words(ca.socket, '--plan', '--timeout', '5s'));
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  const why = `the API server: resources have not all been read yet: cannot reach the API server at https://127.0.0.1:${port} (ECONNREFUSED)`;
  expect(stderr).toMatch(/^waiting for the API server: /);
  expect(stderr).toContain(`deadline_exceeded: nothing to show within 5s: waiting for ${why}`);
  expect(stderr.match(/^waiting for/gm)).toHaveLength(1);
});

test('a plan without the CA does the same', async () => {
  const { code, stderr } = await countersign(words(join(folder, 'nobody.sock'), '--plan', '--timeout', '4s'));
  expect(code).toBe(1);
  expect(stderr).toMatch(/^waiting for the CA: .*ENOENT/);
  expect(stderr).toMatch(/^deadline_exceeded: .*waiting for the CA: .*ENOENT/m);
});

test.each([
  ['run', [], 0, /"level":"warn"[^\n]*cannot reach the API server/],
  ['plan', ['--plan'], 130, /^waiting for the API server/],
] as const)('a %s without the API server ends when it is told to', async (_what, more, expected, why) => {
  const child = spawn(process.execPath, [COMMAND, ...words(ca.socket, ...more)], { stdio: 'pipe' });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = once(child, 'exit');
  using killed = { [Symbol.dispose]: () => child.kill('SIGKILL') };
  await expect.poll(() => output).toContain('ECONNREFUSED');
  expect(output).toMatch(why);
  const since = performance.now();
  child.kill('SIGTERM');
  expect(await ended).toEqual([expected, null]);
  expect(performance.now() - since).toBeLessThan(3_000);
  expect(killed).toBeDefined();
});

test('readiness says each reason once with the kinds that it concerns, and the rest goes on when the server is there', async () => {
  let isAway = true;
  await using api = await StandInApi.start(({ url }, response) => {
    if (isAway) return json(response, 500, status(500, 'InternalError', 'no quorum'));
    if (url.searchParams.has('watch')) return response.writeHead(200).flushHeaders();
    if (url.pathname.startsWith('/apis/countersign.dev/v1alpha1') && url.pathname.split('/').length === 4)
      return json(response, 404, status(404, 'NotFound', 'not served'));
    return json(response, 200, { metadata: { resourceVersion: '1' }, items: [], resources: [] });
  });
  await using rig = await ControllerRig.start({ socket: ca.socket, kubeconfigFile: kubeconfig(api.url.href) });
  const reason = async (): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${rig.httpPort}/readyz`);
    // The cast is sound: that is what the listener serves.
    const answer = (await response.json()) as { checks: { resources: { reason: string } } };
    return answer.checks.resources.reason;
  };
  await expect.poll(reason).toMatch(/^resources have not all been read yet: .*no quorum.*staticidentities\.countersign\.dev/);
  await expect.poll(async () => (await reason()).match(/no quorum/g)?.length).toBeLessThanOrEqual(2);
  isAway = false;
  await expect.poll(reason).toBe('resources are followed');
});
