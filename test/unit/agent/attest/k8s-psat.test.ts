import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { createK8sPsat } from '../../../../agent/attest/k8s-psat.ts';

const folder = mkdtempSync(join(tmpdir(), 'psat-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const tokenFile = join(folder, 'token');
const attestor = createK8sPsat({ cluster: 'main', tokenFile });
const payload = async (): Promise<string> => Buffer.from((await attestor.prepare()).payload).toString();

test('reads the token anew each time, since the kubelet replaces it', async () => {
  writeFileSync(tokenFile, 'first\n');
  expect(JSON.parse(await payload())).toEqual({ cluster: 'main', token: 'first' });
  writeFileSync(tokenFile, 'second');
  expect(JSON.parse(await payload())).toEqual({ cluster: 'main', token: 'second' });
});

test('says which file is missing, and waits for one that is empty', async () => {
  writeFileSync(tokenFile, '');
  await expect(attestor.prepare()).rejects.toMatchObject({ code: 'unavailable' });
  rmSync(tokenFile);
  const missing = { code: 'failed_precondition', message: expect.stringContaining(tokenFile) };
  await expect(attestor.prepare()).rejects.toMatchObject(missing);
});
