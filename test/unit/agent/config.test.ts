import { describe, expect, test } from 'vitest';

import { parseAgentConfig, type AgentConfig } from '../../../agent/config.ts';
import { DecodeError } from '../../../core/decode.ts';

const FULL = {
  trustDomain: 'example.org',
  dataDir: './data/agent',
  server: '127.0.0.1:8081',
  bootstrap: { file: './bundle.pem' },
  attestor: { joinTokenFile: './token' },
  keys: { kind: 'disk' },
  workloadAttestors: { unix: {}, systemd: {} },
  listen: { workload: 'unix:./run/public/api.sock', admin: 'unix:./run/private/admin.sock', http: '127.0.0.1:9980' },
  log: { level: 'info' },
};
const parse = (change: Readonly<Record<string, unknown>> = {}): AgentConfig =>
  parseAgentConfig({ ...FULL, ...change }, '/etc/agent');
const faultsOf = (change: Readonly<Record<string, unknown>>): string[] => {
  try {
    parse(change);
  } catch (error) {
    if (error instanceof DecodeError) return error.faults.map(({ path }) => path);
    throw error;
  }
  return [];
};

test('reads every key; paths are relative to the file', () => {
  const config = parse();
  expect(config.trustDomain.name).toBe('example.org');
  expect(config.dataDir).toBe('/etc/agent/data/agent');
  expect(config.server).toEqual({ kind: 'tcp', host: '127.0.0.1', port: 8081 });
  expect(config.bootstrap).toEqual({ kind: 'file', file: '/etc/agent/bundle.pem' });
  expect(config.attestor).toEqual({ kind: 'joinTokenFile', value: '/etc/agent/token' });
  expect(config.listen.workload).toEqual({ kind: 'unix', path: '/etc/agent/run/public/api.sock' });
  expect(config.authorizedDelegates).toEqual([]);
});

test('keys, log, admin and http may be left out', () => {
  const { keys, log, listen } = parse({ keys: undefined, log: undefined, listen: { workload: 'unix:./api.sock' } });
  expect([keys.kind, log.level, listen.admin, listen.http]).toEqual(['disk', 'info', undefined, undefined]);
});

describe('bootstrap', () => {
  const sha256 = 'AB'.repeat(32);

  test.each([
    [{ insecure: true }, { kind: 'insecure' }],
    [{ url: 'https://ca.example.org/' }, { kind: 'url', sha256Hex: undefined }],
    [
      { url: 'https://ca.example.org/', sha256 },
      { kind: 'url', sha256Hex: 'ab'.repeat(32) },
    ],
    [{ url: 'http://ca.example.org/', sha256 }, { kind: 'url' }],
  ])('reads %j', (bootstrap, expected) => {
    expect(parse({ bootstrap }).bootstrap).toMatchObject(expected);
  });

  test.each([
    [{}],
    [{ file: './a', insecure: true }],
    [{ insecure: false }],
    [{ file: './a', sha256 }],
    [{ url: 'http://ca.example.org/' }],
    [{ url: 'ftp://ca.example.org/', sha256 }],
    [{ url: 'https://ca.example.org/', sha256: 'ab' }],
    [undefined],
  ])('refuses %j', (bootstrap) => {
    expect(faultsOf({ bootstrap })[0]).toMatch(/^bootstrap/);
  });
});

test('reports all faults at once, with their paths', () => {
  const faults = faultsOf({
    trustDomain: 'Example.Org',
    server: 'nowhere',
    attestor: { joinTokenFile: './token', x509pop: {} },
    keys: { kind: 'vault' },
    listen: { workload: '127.0.0.1:80' },
    surprise: 1,
  });
  expect(faults.sort()).toEqual(['attestor', 'keys.kind', 'listen.workload', 'server', 'surprise', 'trustDomain']);
});

test('x509pop needs certificate and key', () => {
  expect(faultsOf({ attestor: { x509pop: { certFile: './cert.pem' } } })).toEqual(['attestor.x509pop.keyFile']);
  expect(parse({ attestor: { x509pop: { certFile: './c', keyFile: './k' } } }).attestor.kind).toBe('x509pop');
});
