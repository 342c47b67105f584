// What a probe or a script asks a controller by the command line.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { countersign } from '../support/command.ts';
import { ControllerRig } from '../support/controller-rig.ts';
import { freePort } from '../support/free-port.ts';
import { RunningCa } from '../support/running-ca.ts';

let ca: RunningCa;
let folder: string;
let port: number;

beforeAll(async () => {
  ca = await RunningCa.start();
  folder = mkdtempSync(join(tmpdir(), 'healthcheck-'));
  port = await freePort();
});
afterAll(async () => {
  await ca[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function options(socket: string) {
  return { socket, resourcesDir: folder, yaml: `listen: { http: "127.0.0.1:${port}" }` };
}

function ask(listen: string, ...more: readonly string[]) {
  const file = join(folder, '.controller.conf');
  writeFileSync(file, `trustDomain: example.org\nca: { socket: "unix:${ca.socket}" }\n${listen}\n`);
  return countersign(['controller', 'healthcheck', '--config', file, ...more]);
}

const listening = (host = '127.0.0.1'): string => `listen: { http: "${host}:${port}" }`;

test('says whether the controller is ready, and waits for it when told to', async () => {
  const refused = await ask(listening());
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(refused.stderr).toMatch(/^not ready: .*ECONNREFUSED/);
  const waiting = ask(listening('0.0.0.0'), '--wait', '30s');
  await using rig = await ControllerRig.start(options(ca.socket));
  expect(await waiting).toMatchObject({ code: 0, stdout: 'ready\n' });
  expect(rig.httpPort).toBeGreaterThan(0);
  expect(await ask(listening())).toMatchObject({ code: 0, stdout: 'ready\n' });
});

test('tells what is missing', async () => {
  await using rig = await ControllerRig.start(options(join(folder, 'nobody.sock')));
  expect(rig.httpPort).toBeGreaterThan(0);
  const answer = await ask(listening());
  expect(answer).toMatchObject({ code: 1, stdout: '' });
  expect(answer.stderr).toContain('the CA has not been reached yet');
});

test('a controller without listen.http cannot be asked', async () => {
  const answer = await ask('');
  expect(answer.code).not.toBe(0);
  expect(answer.stderr).toContain('listen.http');
});
