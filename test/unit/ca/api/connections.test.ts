import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../../../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { SVID } from '../../../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { PermissionDeniedDetails_Reason as Reason } from '../../../../proto/gen/spire/api/types/status_pb.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestTestAgent } from '../../../support/test-agent.ts';
import { issueCertificate, TestCa } from '../../../support/test-ca.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';

const HOUR_MS = 3_600_000;

describe('a client certificate', () => {
  test('of another CA is refused on every call', async () => {
    await using ca = await RunningCa.start();
    const stranger = ca.remote(TestCa.create().issueX509Svid('/spire/agent/join_token/x'));
    expect(await failureOf(stranger.client(Bundle).getBundle({}))).toMatchObject({ code: 'unauthenticated' });
    expect(await failureOf(stranger.client(Entry).getAuthorizedEntries({}))).toMatchObject({ code: 'unauthenticated' });
  });

  test('of a trust domain that is not federated is refused', async () => {
    await using ca = await RunningCa.start();
    const stranger = ca.remote(TestCa.create({ trustDomain: 'other.example' }).issueX509Svid());
    expect(await failureOf(stranger.client(Bundle).getBundle({}))).toMatchObject({ code: 'unauthenticated' });
  });

  test('that is no X509-SVID is refused', async () => {
    await using ca = await RunningCa.start();
    const plain = issueCertificate(undefined, { subject: { commonName: 'x' } });
    const two = issueCertificate(undefined, { uris: ['spiffe://example.org/a', 'spiffe://example.org/b'] });
    for (const { der, key } of [plain, two]) {
      const connection = ca.remote({ chain: [der], key });
      expect(await failureOf(connection.client(Bundle).getBundle({}))).toMatchObject({ code: 'unauthenticated' });
    }
  });

  test('that runs out ends what its held connection may do', async () => {
    const clock = new ManualClock(Date.now());
    await using ca = await RunningCa.start({ clock });
    const agent = await attestTestAgent(ca);
    const key = createTestKey();
    const { svid } = await ca
      .local(SVID)
      .mintX509SVID({ csr: createTestCsr({ key, uris: ['spiffe://example.org/w'] }), ttl: 60 });
    const workload = ca.remote({ chain: svid?.certChain ?? [], key });
    const mine = agent.connection.client(Entry);
    expect(await failureOf(mine.getAuthorizedEntries({}))).toMatchObject({ code: 'ok' });
    expect(await failureOf(workload.client(Bundle).getBundle({}))).toMatchObject({ code: 'ok' });
    clock.step(2 * HOUR_MS);
    expect(await failureOf(mine.getAuthorizedEntries({}))).toMatchObject({
      code: 'permission_denied',
      reason: Reason.AGENT_EXPIRED,
    });
    expect(await failureOf(workload.client(Bundle).getBundle({}))).toMatchObject({ code: 'unauthenticated' });
  });

  test('of an authority that was revoked tells an agent to attest again, and others nothing', async () => {
    await using ca = await RunningCa.start();
    const agent = await attestTestAgent(ca);
    const key = createTestKey();
    const { svid } = await ca.local(SVID).mintX509SVID({ csr: createTestCsr({ key, uris: ['spiffe://example.org/w'] }) });
    const workload = ca.remote({ chain: svid?.certChain ?? [], key });
    expect(await failureOf(workload.client(Bundle).getBundle({}))).toMatchObject({ code: 'ok' });
    const authorities = ca.local(LocalAuthority);
    const { active } = await authorities.getX509AuthorityState({});
    const { preparedAuthority } = await authorities.prepareX509Authority({});
    await authorities.activateX509Authority({ authorityId: preparedAuthority?.authorityId ?? '' });
    const old = { authorityId: active?.authorityId ?? '' };
    await authorities.taintX509Authority(old);
    expect(await failureOf(workload.client(Bundle).getBundle({}))).toMatchObject({ code: 'ok' });
    await authorities.revokeX509Authority(old);
    expect(await failureOf(workload.client(Bundle).getBundle({}))).toMatchObject({ code: 'unauthenticated' });
    const denied = await failureOf(agent.connection.client(Entry).getAuthorizedEntries({}));
    expect(denied).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_NOT_ACTIVE });
  });

  test('is not to be had around by resuming a session', async () => {
    await using ca = await RunningCa.start();
    const agent = await attestTestAgent(ca);
    const identity = {
      cert: agent.svid.certChain.map((der) => pem('CERTIFICATE', der)).join(''),
      key: agent.key.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    };
    const options = { port: ca.ca.grpcPort, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false };
    const first = connectTls({ ...options, ...identity });
    const sessions: Buffer[] = [];
    first.on('session', (session) => sessions.push(session));
    await once(first, 'secureConnect');
    await once(first, 'data');
    first.destroy();
    for (const session of sessions) expect(await resumes(connectTls({ ...options, session }))).toBe(false);
  });
});

function pem(label: string, der: Uint8Array): string {
  return `-----BEGIN ${label}-----\n${Buffer.from(der).toString('base64')}\n-----END ${label}-----\n`;
}

async function resumes(socket: TLSSocket): Promise<boolean> {
  await once(socket, 'secureConnect');
  const reused = socket.isSessionReused();
  socket.destroy();
  return reused;
}

describe('the listeners', () => {
  test('the private socket and its folder are the owner’s alone', async () => {
    await using ca = await RunningCa.start();
    expect((await stat(ca.socket)).mode & 0o777).toBe(0o600);
    expect((await stat(dirname(ca.socket))).mode & 0o777).toBe(0o700);
  });

  test('TLS before 1.3 is refused', async () => {
    await using ca = await RunningCa.start();
    const socket = connectTls({ port: ca.ca.grpcPort, host: '127.0.0.1', maxVersion: 'TLSv1.2', rejectUnauthorized: false });
    await expect(once(socket, 'secureConnect')).rejects.toThrow('protocol version');
  });

  test('the server’s own certificate is replaced at half of its life', async () => {
    const clock = new ManualClock(Date.now());
    await using ca = await RunningCa.start({ clock });
    const serial = async (): Promise<string> => {
      const socket = connectTls({ port: ca.ca.grpcPort, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    };
    const before = await serial();
    clock.advance(31 * 60_000);
    await expect.poll(serial).not.toBe(before);
  });
});
