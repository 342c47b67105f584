// TLS clients that must not get anything: on every RPC of the CA as a process, on new connections and on those that were held.
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectNet } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACCESS_TABLE } from '../../ca/api/access-table.ts';
import { systemClock } from '../../core/clock.ts';
import { Node } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { PermissionDeniedDetails_Reason as Reason } from '../../proto/gen/spire/api/types/status_pb.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { DaemonProcess } from '../support/daemon-process.ts';
import { callRpc, connectRemote, REMOTE_RPCS } from '../support/every-rpc.ts';
import { failureOf, type RpcFailure } from '../support/rpc-failure.ts';
import type { ClientIdentity } from '../support/running-ca.ts';
import { attestByToken } from '../support/test-agent.ts';
import { issueCertificate, TestCa } from '../support/test-ca.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey } from '../support/test-keys.ts';

const AGENT_TTL_S = 4;
const own = (path: string) => ({ trustDomain: 'example.org', path });

/** A CA process with an admin on its private socket. */
class HostileWorld implements AsyncDisposable {
  readonly folder: string;
  readonly process: DaemonProcess;
  readonly admin: GrpcConnection;
  port = 0;
  readonly #connections: GrpcConnection[] = [];

  constructor(yaml: string) {
    this.folder = mkdtempSync(join(tmpdir(), 'hostile-'));
    const config = `
trustDomain: example.org
dataDir: ./data
listen: { grpc: "127.0.0.1:0", admin: "unix:./admin/api.sock" }
rateLimits: { attestation: 0, signing: 0 }
log: { level: trace }
${yaml}`;
    this.process = new DaemonProcess({ kind: 'ca', folder: this.folder, config });
    this.admin = connectGrpc({ target: { kind: 'unix', path: join(this.folder, 'admin/api.sock') }, clock: systemClock });
  }

  static async start(yaml = ''): Promise<HostileWorld> {
    const world = new HostileWorld(yaml);
    world.port = Number((await world.process.logged('"ca serves"'))['grpcPort']);
    return world;
  }

  connect(identity?: ClientIdentity): GrpcConnection {
    const connection = connectRemote(this.port, identity);
    this.#connections.push(connection);
    return connection;
  }

  async attest(): Promise<ClientIdentity & { readonly path: string }> {
    const { value } = await this.admin.client(Agent).createJoinToken({ ttl: 600 });
    const key = createTestKey();
    const svid = await attestByToken(this.connect(), value, key);
    return { chain: svid.certChain, key, path: svid.id?.path ?? '' };
  }

  async mint(path: string, ttl: number): Promise<ClientIdentity> {
    const key = createTestKey();
    const csr = createTestCsr({ key, uris: [`spiffe://example.org${path}`] });
    const { svid } = await this.admin.client(SVID).mintX509SVID({ csr, ttl });
    return { chain: svid?.certChain ?? [], key };
  }

  closeClients(): void {
    for (const connection of [this.admin, ...this.#connections]) connection[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closeClients();
    await this.process[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const rolesOf = (path: string): ReadonlySet<string> => ACCESS_TABLE.get(`/${path}`) ?? new Set();

/** Expects an answer of each RPC, on each of the connections. */
async function everyRpc(
  connections: readonly GrpcConnection[],
  expected: (path: string, failure: RpcFailure) => Partial<RpcFailure> | undefined,
): Promise<void> {
  const wrong: string[] = [];
  for (const connection of connections) {
    for (const rpc of REMOTE_RPCS) {
      const failure = await failureOf(callRpc(connection, rpc));
      const { code = failure.code, reason = failure.reason } = expected(rpc.path, failure) ?? {};
      if (failure.code !== code || failure.reason !== reason || (code !== 'ok' && failure.message === '')) {
        wrong.push(`${rpc.path}: ${failure.code} ${failure.reason} ${failure.message}; expected ${code} ${reason}`);
      }
    }
  }
  expect(wrong).toEqual([]);
  console.log(`${connections.length} connections × ${REMOTE_RPCS.length} RPCs answered as they must`);
}

let ca: HostileWorld;
/** Agents of this one have SVIDs of seconds. */
let hasty: HostileWorld;
let openFiles = 0;
beforeAll(async () => {
  [ca, hasty] = await Promise.all([HostileWorld.start(), HostileWorld.start(`ttl: { agentSvid: ${AGENT_TTL_S}s }`)]);
  openFiles = ca.process.openFiles();
});
afterAll(async () => {
  await Promise.all([ca[Symbol.asyncDispose](), hasty[Symbol.asyncDispose]()]);
});

describe('[bad input] on every RPC', () => {
  test('a client without a certificate gets what anyone may have', async () => {
    await everyRpc([ca.connect()], (path) => (rolesOf(path).has('anyone') ? undefined : { code: 'permission_denied' }));
  });

  test('a certificate that proves nothing is refused: another CA’s, another trust domain’s, no X509-SVID', async () => {
    const impostor = TestCa.create();
    const plain = issueCertificate(undefined, { subject: { commonName: 'x' } });
    const two = issueCertificate(undefined, { uris: ['spiffe://example.org/a', 'spiffe://example.org/b'] });
    const odd = issueCertificate(undefined, { uris: ['spiffe://example.org:80/a'] });
    const agent = await ca.attest();
    // The issuer's name and key identifier of the real CA, signed by another key.
    const forged = impostor.issueX509Svid(agent.path, { issuerRaw: impostor.root.certificate.subjectRaw });
    const identities: ClientIdentity[] = [
      impostor.issueX509Svid('/spire/agent/join_token/x'),
      forged,
      TestCa.create({ trustDomain: 'other.example' }).issueX509Svid(),
      ...[plain, two, odd].map(({ der, key }) => ({ chain: [der], key })),
      // A leaf of its own in front of a real chain.
      { chain: [forged.der, ...agent.chain], key: forged.key },
    ];
    const connections = identities.map((identity) => ca.connect(identity));
    await everyRpc(connections, () => ({ code: 'unauthenticated' }));
  });

  test('an admin whose SVID ran out is refused, on the connection that it held and on a new one', async () => {
    const entry = { spiffeId: own('/admin'), parentId: own('/x'), selectors: [{ type: 'a', value: 'b' }], admin: true };
    await ca.admin.client(Entry).batchCreateEntry({ entries: [entry] });
    const identity = await ca.mint('/admin', 3);
    const held = ca.connect(identity);
    await everyRpc([held], (path, { code }) =>
      rolesOf(path).has('admin') && code === 'permission_denied' ? { code: 'ok' } : undefined,
    );
    await expect
      .poll(() => failureOf(held.client(Bundle).getBundle({})), { timeout: 6_000 })
      .toMatchObject({ code: 'unauthenticated' });
    await everyRpc([held, ca.connect(identity)], () => ({ code: 'unauthenticated' }));
  });

  test('an agent whose SVID ran out is told so', async () => {
    const identity = await hasty.attest();
    const held = hasty.connect(identity);
    expect(await failureOf(held.client(Entry).getAuthorizedEntries({}))).toMatchObject({ code: 'ok' });
    const timeout = (AGENT_TTL_S + 3) * 1000;
    await expect
      .poll(() => failureOf(held.client(Bundle).getBundle({})), { timeout })
      .toMatchObject({ code: 'permission_denied' });
    await everyRpc([held, hasty.connect(identity)], () => ({ code: 'permission_denied', reason: Reason.AGENT_EXPIRED }));
  });

  test('a banned agent is refused, also on the connection that it held', async () => {
    const identity = await ca.attest();
    const held = ca.connect(identity);
    expect(await failureOf(held.client(Entry).getAuthorizedEntries({}))).toMatchObject({ code: 'ok' });
    await ca.admin.client(Agent).banAgent({ id: own(identity.path) });
    await everyRpc([held, ca.connect(identity)], (path) =>
      rolesOf(path).has('agent') || rolesOf(path).has('anyone')
        ? { code: 'permission_denied', reason: Reason.AGENT_BANNED }
        : { code: 'permission_denied' },
    );
  });

  test('an evicted agent, and one that shows an SVID from before its renewal, are told what they are', async () => {
    const evicted = await ca.attest();
    const renewed = await ca.attest();
    const [heldEvicted, heldRenewed] = [ca.connect(evicted), ca.connect(renewed)];
    for (const held of [heldEvicted, heldRenewed]) await held.client(Entry).getAuthorizedEntries({});
    await ca.admin.client(Agent).deleteAgent({ id: own(evicted.path) });
    const key = createTestKey();
    const { svid } = await heldRenewed.client(Agent).renewAgent({ params: { csr: createTestCsr({ key, uris: [] }) } });
    // The first use of the new SVID is what ends the old one.
    await ca
      .connect({ chain: svid?.certChain ?? [], key })
      .client(Entry)
      .getAuthorizedEntries({});
    const rows = [
      [heldEvicted, Reason.AGENT_NOT_ATTESTED],
      [heldRenewed, Reason.AGENT_NOT_ACTIVE],
    ] as const;
    for (const [held, reason] of rows) {
      await everyRpc([held], (path) => {
        if (rolesOf(path).has('agent') && !rolesOf(path).has('local')) return { code: 'permission_denied', reason };
        return rolesOf(path).has('anyone') ? undefined : { code: 'permission_denied' };
      });
    }
  });
});

describe('[bad input] a watch stream', () => {
  /** Opens the stream of an agent; resolves with how it ended, and when. */
  async function watch(
    world: HostileWorld,
    identity: ClientIdentity,
  ): Promise<{ ended: Promise<RpcFailure & { atMs: number }> }> {
    async function* requests() {
      yield { message: { case: 'subscribe', value: {} } } as const;
      await new Promise(() => {});
    }
    const responses = world.connect(identity).client(Node).watch(requests())[Symbol.asyncIterator]();
    await responses.next();
    const drain = async (): Promise<void> => {
      while ((await responses.next()).done !== true);
    };
    return { ended: failureOf(drain()).then((failure) => ({ ...failure, atMs: Date.now() })) };
  }

  test('ends within a second of ban, eviction and expiry, with the reason', async () => {
    const [banned, evicted, expiring] = await Promise.all([ca.attest(), ca.attest(), hasty.attest()]);
    const streams = await Promise.all([watch(ca, banned), watch(ca, evicted), watch(hasty, expiring)]);
    const startMs = Date.now();
    await ca.admin.client(Agent).banAgent({ id: own(banned.path) });
    await ca.admin.client(Agent).deleteAgent({ id: own(evicted.path) });
    const [byBan, byEviction, byExpiry] = await Promise.all(streams.map(({ ended }) => ended));
    expect(byBan).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_BANNED });
    expect(byEviction).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_NOT_ATTESTED });
    expect(byExpiry).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_EXPIRED });
    const expiresMs = new X509Certificate(expiring.chain[0] ?? '').validToDate.getTime();
    const delays = [(byBan?.atMs ?? 0) - startMs, (byEviction?.atMs ?? 0) - startMs, (byExpiry?.atMs ?? 0) - expiresMs];
    console.log(`watch ended after ban ${delays[0]} ms, eviction ${delays[1]} ms, expiry ${delays[2]} ms`);
    for (const delay of delays) expect(delay).toBeLessThan(1_000);
  });
});

describe('[bad input] a TLS session', () => {
  test('is never resumed, whatever ticket a client offers', async () => {
    const identity = await ca.attest();
    const base = { port: ca.port, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false };
    const socket = connectTls({
      ...base,
      cert: identity.chain.map((der) => encodePem('CERTIFICATE', der)).join(''),
      key: identity.key.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    });
    const tickets: Buffer[] = [];
    socket.on('session', (ticket: Buffer) => tickets.push(ticket));
    await once(socket, 'secureConnect');
    await once(socket, 'data');
    socket.destroy();
    for (const port of [ca.port, hasty.port]) {
      for (const session of tickets) {
        const again = connectTls({ ...base, port, session });
        await once(again, 'secureConnect');
        expect(again.isSessionReused()).toBe(false);
        again.destroy();
      }
    }
  });

  test('that is none, or is left half-way, costs nothing that stays', async () => {
    const greetings = [
      'GET / HTTP/1.1\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      '\x16\x03\x01\x02\x00\x01',
      '\0'.repeat(20_000),
      '',
    ];
    const sockets = Array.from({ length: 200 }, (_, index) => {
      const socket = connectNet(ca.port, '127.0.0.1').on('error', () => {});
      socket.write(greetings[index % greetings.length] ?? '');
      return socket;
    });
    expect(await failureOf(ca.connect().client(Bundle).getBundle({}))).toMatchObject({ code: 'ok' });
    for (const socket of sockets) socket.destroy();
  });
});

describe('afterwards', () => {
  test('the CA serves, has no file open more than before, and its log knows no secret', async () => {
    const secret = await ca.attest();
    expect(await failureOf(ca.connect(secret).client(Entry).getAuthorizedEntries({}))).toMatchObject({ code: 'ok' });
    expect(ca.process.exitCode).toBeUndefined();
    await ca.admin.client(Bundle).getBundle({});
    for (const world of [ca, hasty]) expect(world.process.log).not.toMatch(/PRIVATE KEY|CERTIFICATE REQUEST/);
    expect(ca.process.log).not.toContain('internal error');
    expect(ca.process.log).not.toContain('rpc failed');
    ca.closeClients();
    await expect.poll(() => ca.process.openFiles(), { timeout: 10_000 }).toBeLessThanOrEqual(openFiles);
  });
});
