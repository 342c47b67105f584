import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { connectGrpc } from '../../runtime/grpc-client.ts';
import { systemClock } from '../../core/clock.ts';
import { CaProcess, runCaCommand } from '../support/ca-process.ts';
import { failureOf } from '../support/rpc-failure.ts';
import { attestByToken } from '../support/test-agent.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey } from '../support/test-keys.ts';

describe('countersign ca run', () => {
  let ca: CaProcess;
  beforeAll(async () => {
    ca = await CaProcess.start({ logLevel: 'trace' });
  });
  afterAll(() => ca[Symbol.asyncDispose]());

  test('says that a configuration is good, or everything that is wrong with it', async () => {
    expect(await runCaCommand('--config', join(ca.folder, 'ca.yaml'), '--check-config')).toMatchObject({ code: 0 });
    const broken = join(ca.folder, 'broken.yaml');
    writeFileSync(broken, 'trustDomain: NO\nlisten: { grpc: here }\nstore: { kind: mysql }\ncolour: red\n');
    const { code, output } = await runCaCommand('--config', broken);
    expect(code).toBe(1);
    for (const path of ['trustDomain', 'dataDir', 'listen.grpc', 'listen.admin', 'store.kind', 'colour']) {
      expect(output).toContain(`  ${path}: `);
    }
  });

  test('does not start a second time on the same socket', async () => {
    const { code, output } = await runCaCommand('--config', join(ca.folder, 'ca.yaml'));
    expect(code).toBe(1);
    expect(output).toContain('another process');
  });

  test('keeps what it holds for itself', () => {
    const mode = (path: string): number => statSync(join(ca.folder, path)).mode & 0o777;
    expect([mode('data'), mode('data/keys'), mode('admin'), mode('admin/api.sock'), mode('data/audit.jsonl')]).toEqual([
      0o700, 0o700, 0o700, 0o600, 0o600,
    ]);
  });

  test('logs neither tokens nor keys nor CSRs, whatever goes wrong', async () => {
    using admin = ca.connect();
    const target = { kind: 'tcp', host: '127.0.0.1', port: ca.grpcPort } as const;
    using remote = connectGrpc({ target, clock: systemClock, tls: { verifyServer: () => {} } });
    const { value: token } = await admin.client(Agent).createJoinToken({ ttl: 60 });
    const key = createTestKey();
    await attestByToken(remote, token, key);
    await failureOf(attestByToken(remote, token, key));
    await failureOf(attestByToken(remote, 'secret-token-never-made', key));
    const csr = createTestCsr({ key, uris: ['spiffe://example.org/minted'] });
    await admin.client(SVID).mintX509SVID({ csr });
    await failureOf(admin.client(SVID).mintX509SVID({ csr: csr.subarray(0, -3) }));
    const { svid } = await admin
      .client(SVID)
      .mintJWTSVID({ id: { trustDomain: 'example.org', path: '/minted' }, audience: ['a'] });
    const written = ca.log + readFileSync(join(ca.folder, 'data', 'audit.jsonl'), 'utf8');
    expect(written).toContain('/spire/agent/join_token/');
    // The agent's ID holds its token as SPIRE's does; by then the token is used up.
    const besides = written.replaceAll(`/spire/agent/join_token/${token}`, '');
    for (const secret of [
      token,
      'secret-token-never-made',
      Buffer.from(csr).toString('base64').slice(20, 60),
      svid?.token ?? '?',
      'PRIVATE KEY',
    ]) {
      expect(besides).not.toContain(secret);
    }
  });
});

describe('a CA that is started again', () => {
  test.each(['SIGTERM', 'SIGKILL'] as const)('after %s has what it had: entries, agents, authorities', async (signal) => {
    const first = await CaProcess.start();
    const before = await (async () => {
      using admin = first.connect();
      const selectors = [{ type: 'unix', value: 'uid:0' }];
      const own = (path: string) => ({ trustDomain: 'example.org', path });
      const { results } = await admin
        .client(Entry)
        .batchCreateEntry({ entries: [{ spiffeId: own('/a'), parentId: own('/b'), selectors }] });
      return { entry: results[0]?.entry, bundle: await admin.client(Bundle).getBundle({}) };
    })();
    expect(await first.stop(signal)).toBe(signal === 'SIGTERM' ? 0 : null);
    await using second = await CaProcess.start({ folder: first.folder });
    using admin = second.connect();
    expect(await admin.client(Entry).getEntry({ id: before.entry?.id ?? '' })).toEqual(before.entry);
    const after = await admin.client(Bundle).getBundle({});
    expect(after.x509Authorities).toEqual(before.bundle.x509Authorities);
    expect(after.jwtAuthorities).toEqual(before.bundle.jwtAuthorities);
    await first[Symbol.asyncDispose]();
  });
});
