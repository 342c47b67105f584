import { describe, expect, test } from 'vitest';
import { parseDocument } from 'yaml';
import { caConfig, type CaConfig } from '../../../ca/config.ts';
import { decode, DecodeError } from '../../../core/decode.ts';

const MINIMAL = `
trustDomain: example.org
dataDir: ./data/ca
listen: { grpc: "127.0.0.1:8081", admin: "unix:./run/ca/admin.sock" }
`;

function read(yaml: string): CaConfig {
  return decode(caConfig('/etc/countersign'), parseDocument(yaml).toJS());
}

function faultsOf(yaml: string): readonly string[] {
  try {
    read(yaml);
    return [];
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return error.faults.map(({ path }) => path);
  }
}

describe('ca.yaml', () => {
  test('needs little and defaults the rest', () => {
    const config = read(MINIMAL);
    expect(config.trustDomain.name).toBe('example.org');
    expect(config.dataDir).toBe('/etc/countersign/data/ca');
    expect(config.listen.admin).toEqual({ kind: 'unix', path: '/etc/countersign/run/ca/admin.sock' });
    expect(config.store).toEqual({ kind: 'sqlite' });
    expect(config.keys).toEqual({ kind: 'disk' });
    expect(config.rateLimits).toEqual({ attestation: 1, signing: 500 });
    expect(config.ttl.ca.ms).toBe(86_400_000);
    expect(config.ttl.jwtSvid.ms).toBe(300_000);
    expect(config.attestors.joinToken).toEqual({});
    expect(config.attestors.x509pop).toBeUndefined();
  });

  test('takes every key of the documentation', () => {
    const config = read(`
trustDomain: example.org
dataDir: ./data/ca
listen: { grpc: "127.0.0.1:8081", admin: "unix:./run/ca/admin.sock", http: "127.0.0.1:8080", public: "127.0.0.1:8443" }
store: { kind: postgres, urlFile: ./pg-url }
keys: { kind: memory, caKeyType: ec-p384, jwtKeyType: rsa-2048 }
rateLimits: { attestation: 0, signing: 0 }
ttl: { ca: 24h, x509Svid: 30m, jwtSvid: 5m, witSvid: 1h }
jwtIssuer: https://id.example.org
upstream: { disk: { certFile: ./root.pem, keyFile: /keys/root.key } }
attestors: { joinToken: {}, x509pop: { caFile: ./roots.pem } }
admins: [spiffe://example.org/admin, spiffe://other.example/ops]
federation: { endpoint: { profile: https_spiffe }, allowPrivateHosts: [bundle.internal] }
authorization: { default: deny, calls: { keep: 30d } }
log: { level: debug }
`);
    expect(config.store).toEqual({ kind: 'postgres', urlFile: '/etc/countersign/pg-url' });
    expect(config.keys).toEqual({ kind: 'memory', caKeyType: 'ec-p384', jwtKeyType: 'rsa-2048' });
    expect(config.upstream?.disk).toMatchObject({ certFile: '/etc/countersign/root.pem', keyFile: '/keys/root.key' });
    expect(config.attestors.x509pop?.caFiles).toEqual(['/etc/countersign/roots.pem']);
    expect(config.ttl.agentSvid.ms).toBe(config.ttl.x509Svid.ms);
    expect(config.admins.map(String)).toEqual(['spiffe://example.org/admin', 'spiffe://other.example/ops']);
    expect(config.federation.endpoint?.refreshHint.ms).toBe(300_000);
    expect(config.authorization).toEqual({ default: 'deny', calls: { keep: { ms: 30 * 86_400_000 } } });
  });

  test('reports every fault at once, each with its path', () => {
    const faults = faultsOf(`
trustDomain: Example.org
listen: { grpc: "unix:./grpc.sock", admin: "127.0.0.1:1" }
store: { kind: postgres }
rateLimits: { attestation: -1 }
ttl: { ca: 1h, x509Svid: 0s }
jwtIssuer: http://id.example.org
attestors: { x509pop: {} }
colour: red
`);
    const paths = [
      'colour',
      'trustDomain',
      'dataDir',
      'listen.grpc',
      'listen.admin',
      'store',
      'rateLimits.attestation',
      'ttl.x509Svid',
    ];
    expect(faults).toEqual(expect.arrayContaining([...paths, 'jwtIssuer', 'attestors.x509pop']));
  });

  test('authorization is observed unless configured, and its calls are kept for a week', () => {
    const usual = { default: 'audit', calls: { keep: { ms: 7 * 86_400_000 } } };
    expect(read(MINIMAL).authorization).toEqual(usual);
    expect(read(`${MINIMAL}authorization: {}`).authorization).toEqual(usual);
    for (const text of ['{ default: maybe }', '{ calls: { keep: 59m } }', '{ calls: { keep: 91d } }', '{ other: 1 }']) {
      expect(faultsOf(`${MINIMAL}authorization: ${text}`)).toHaveLength(1);
    }
  });

  test('no SVID is given a longer life than its authority', () => {
    const { ttl } = read(`${MINIMAL}ttl: { ca: 10m, x509Svid: 2h }`);
    expect([ttl.x509Svid.ms, ttl.witSvid.ms, ttl.agentSvid.ms, ttl.jwtSvid.ms]).toEqual([600_000, 600_000, 600_000, 300_000]);
  });

  test.each(['tt', '0s', '-5m', '500ms', '5'])('refuses the lifetime %s', (text) => {
    expect(faultsOf(`${MINIMAL}ttl: { x509Svid: "${text}" }`)).toHaveLength(1);
  });
});
