import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { ApiServerAccess } from '../../../../runtime/kubernetes/access.ts';
import { plainKubeconfigAccess } from '../../../../runtime/kubernetes/plain-kubeconfig.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

let folder: string;
let clock: ManualClock;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kubeconfig-'));
  clock = new ManualClock();
});

afterEach(() => rmSync(folder, { recursive: true }));

const base64 = (text: string): string => Buffer.from(text).toString('base64');

function access(cluster: object, user: object, context?: string): ApiServerAccess | undefined {
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'here',
    contexts: [
      { name: 'elsewhere', context: { cluster: 'none', user: 'none' } },
      { name: 'here', context: { cluster: 'c', user: 'u', namespace: 'n' } },
    ],
    clusters: [{ name: 'c', cluster: { server: 'https://api.example.org:6443', ...cluster } }],
    users: [{ name: 'u', user }],
  };
  return plainKubeconfigAccess(config, { file: join(folder, 'config'), context, clock });
}

describe('a plain kubeconfig', () => {
  it('gives what is in it', async () => {
    const data = { 'client-certificate-data': base64('cert'), 'client-key-data': base64('key') };
    const found = access({ 'certificate-authority-data': base64('ca'), 'tls-server-name': 'api' }, data);
    expect(found?.url.href).toBe('https://api.example.org:6443/');
    expect(await found?.material(false)).toEqual({ tls: { ca: 'ca', cert: 'cert', key: 'key', servername: 'api' } });
    expect(await access({}, { token: 'abc' })?.material(false)).toEqual({ tls: {}, authorization: 'Bearer abc' });
  });

  it('gives what is in the files that it names, beside itself, as they are renewed', async () => {
    writeFileSync(join(folder, 'ca.crt'), 'ca');
    writeFileSync(join(folder, 'token'), 'first\n');
    const found = access({ 'certificate-authority': 'ca.crt' }, { tokenFile: 'token', token: 'ignored' });
    expect(await found?.material(false)).toEqual({ tls: { ca: 'ca' }, authorization: 'Bearer first' });
    writeFileSync(join(folder, 'token'), 'second');
    clock.advance(10_000);
    expect(await found?.material(false)).toEqual({ tls: { ca: 'ca' }, authorization: 'Bearer second' });
    rmSync(join(folder, 'token'));
    await expect(found?.material(true)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it.each([
    ['a program', {}, { exec: { command: 'aws' } }],
    ['a password', {}, { username: 'a', password: 'b' }],
    ['somebody else to act as', {}, { token: 'a', as: 'b' }],
    ['a proxy', { 'proxy-url': 'http://proxy:3128' }, { token: 'a' }],
    ['an unverified server', { 'insecure-skip-tls-verify': true }, { token: 'a' }],
    ['plain HTTP', { server: 'http://127.0.0.1:8001' }, { token: 'a' }],
    ['no text', {}, { token: 7 }],
  ])('leaves %s to the library', (_what, cluster, user) => {
    expect(access(cluster, user)).toBeUndefined();
  });

  it('leaves what is missing or no kubeconfig to the library', () => {
    expect(access({}, { token: 'a' }, 'elsewhere')).toBeUndefined();
    expect(access({}, { token: 'a' }, 'nowhere')).toBeUndefined();
    for (const config of [undefined, 'text', [], {}, { contexts: [7] }]) {
      expect(plainKubeconfigAccess(config, { file: 'x', context: 'here', clock })).toBeUndefined();
    }
  });
});
