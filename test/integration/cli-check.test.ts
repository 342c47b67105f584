// `countersign check` of one CA, wherever it runs. The check of a whole cluster is in test/cluster.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CaProcess } from '../support/ca-process.ts';
import { countersign } from '../support/command.ts';

let ca: CaProcess;
const folder = mkdtempSync(join(tmpdir(), 'check-'));
beforeAll(async () => {
  ca = await CaProcess.start();
});
afterAll(async () => {
  await ca[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

test('a CA that is well has no remedy and exit code 0', async () => {
  const { code, stdout, stderr } = await countersign(['check', '--socket', ca.socket]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain('✔ ca: serves example.org, version ');
  for (const kind of ['x509', 'jwt', 'wit']) expect(stdout).toContain(`✔ ca: ${kind} authority good until `);
  expect(stdout).toContain('✔ ca: 0 agents attested, 0 connected to this replica');
  expect(stdout).not.toContain('→');
  expect(stdout).toMatch(/6 ok, 0 warnings, 0 errors\n$/);
});

test('JSON has the findings and what other checks compare', async () => {
  const { code, stdout } = await countersign(['check', '--socket', ca.socket, '--output', 'json', '--subject', 'ca one']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    trustDomain: 'example.org',
    authorities: [expect.stringMatching(/^[0-9a-f]{64}$/)],
    findings: expect.arrayContaining([expect.objectContaining({ level: 'ok', subject: 'ca one' })]),
  });
});

test('a CA that is not there is an error with what to do, and exit code 1', async () => {
  const { code, stdout } = await countersign(['check', '--socket', join(folder, 'nothing.sock')]);
  expect(code).toBe(1);
  expect(stdout).toContain('✘ ca: ');
  expect(stdout).toContain('→ is the CA running');
});

test('a kubeconfig that is not there is named', async () => {
  const kubeconfig = join(folder, 'kubeconfig');
  const { code, stderr } = await countersign(['check', '--kubeconfig', kubeconfig]);
  expect(code).toBe(1);
  expect(stderr).toContain(kubeconfig);
});
