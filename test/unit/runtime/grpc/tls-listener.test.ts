import { X509Certificate } from 'node:crypto';
import http2, { type ClientHttp2Session } from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Health } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { GrpcServer } from '../../../../runtime/grpc/server.ts';
import { listenTls, type TlsListener } from '../../../../runtime/grpc/tls-listener.ts';
import { createAuthority, type Authority, type Certificate } from '../../../conformance/grpc/certificates.ts';
import { request } from './raw-client.ts';

const CHECK = '/grpc.health.v1.Health/Check';

let authority: Authority;
let client: Certificate;
let server: GrpcServer<readonly Uint8Array[]>;
let listener: TlsListener;
const peers: (readonly Uint8Array[])[] = [];
const refused: unknown[] = [];
const verification = { refuse: false, later: false };

beforeAll(async () => {
  authority = await createAuthority();
  client = await authority.issue({ uri: 'spiffe://example.org/client' });
  server = new GrpcServer();
  server.addService(Health, {
    check: (_request, { peer }) => {
      peers.push(peer);
      return {};
    },
  });
  listener = await listenTls(server, {
    host: '127.0.0.1',
    port: 0,
    credentials: await authority.issue({ dns: 'one.example.org' }),
    handshakeTimeoutMs: 200,
    verifyPeer: (chain) => {
      if (verification.refuse) throw new Error('refused');
      return verification.later ? new Promise((resolve) => setTimeout(() => resolve(chain), 20)) : chain;
    },
    onRefused: (error) => refused.push(error),
  });
});

afterAll(async () => {
  await listener.close();
  await server.close({ graceMs: 0 });
});

function connect(options: tls.ConnectionOptions = {}): tls.TLSSocket {
  const trust = { ca: authority.rootPem, checkServerIdentity: () => undefined, ALPNProtocols: ['h2'] };
  const socket = tls.connect({ host: '127.0.0.1', port: listener.port, ...trust, ...options });
  socket.on('error', () => {});
  return socket;
}

function sessionOver(socket: tls.TLSSocket): ClientHttp2Session {
  const session = http2.connect('https://localhost', { createConnection: () => socket });
  session.on('error', () => {});
  return session;
}

async function check(options: tls.ConnectionOptions = {}): Promise<{ status: unknown; socket: tls.TLSSocket }> {
  const socket = connect(options);
  const session = sessionOver(socket);
  const { trailers } = await request(session, CHECK);
  session.close();
  return { status: trailers['grpc-status'], socket };
}

describe('listenTls', () => {
  it('gives the chain that the client sent, leaf first', async () => {
    peers.length = 0;
    expect((await check({ cert: client.cert, key: client.key })).status).toBe('0');
    expect(peers[0]?.map((der) => new X509Certificate(der).subject)).toEqual(['CN=leaf', 'CN=intermediate']);
    expect(peers[0]?.[0]).toEqual(Buffer.from(client.der[0] ?? []));
  });

  it('gives an empty chain for a client without a certificate', async () => {
    peers.length = 0;
    expect((await check()).status).toBe('0');
    expect(peers).toEqual([[]]);
  });

  it('closes a connection that verifyPeer refuses', async () => {
    verification.refuse = true;
    refused.length = 0;
    try {
      const socket = connect({ cert: client.cert, key: client.key });
      await new Promise((resolve) => socket.once('close', resolve));
      expect(refused).toEqual([new Error('refused')]);
    } finally {
      verification.refuse = false;
    }
  });

  it('waits for a verification that takes its time', async () => {
    verification.later = true;
    try {
      expect((await check({ cert: client.cert, key: client.key })).status).toBe('0');
    } finally {
      verification.later = false;
    }
  });

  it('never resumes a session: the certificate is read each time', async () => {
    const tickets: Buffer[] = [];
    const socket = connect({ cert: client.cert, key: client.key });
    socket.on('session', (ticket) => tickets.push(ticket));
    const session = sessionOver(socket);
    await request(session, CHECK);
    session.close();
    await new Promise((resolve) => socket.once('close', resolve));
    for (const ticket of tickets) {
      peers.length = 0;
      const again = await check({ session: ticket });
      expect(again.socket.isSessionReused()).toBe(false);
      expect(peers).toEqual([[]]);
    }
  });

  it('speaks TLS 1.3 and HTTP/2 only', async () => {
    refused.length = 0;
    const old = connect({ maxVersion: 'TLSv1.2' });
    await new Promise((resolve) => old.once('close', resolve));
    for (const protocols of [['http/1.1'], []]) {
      const other = connect({ ALPNProtocols: protocols });
      await new Promise((resolve) => other.once('close', resolve));
    }
    expect(refused).toHaveLength(3);
  });

  it('gives up on a client that does not finish its handshake', async () => {
    refused.length = 0;
    const socket = net.connect(listener.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.resume();
    await new Promise((resolve) => socket.once('close', resolve));
    expect(refused).toHaveLength(1);
  });

  it('outlives a client that leaves during its handshake, or speaks no TLS', async () => {
    for (const greeting of ['', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\x16\x03\x01\x00\x05\x01']) {
      const socket = net.connect(listener.port, '127.0.0.1');
      socket.on('error', () => {});
      await new Promise((resolve) => socket.once('connect', resolve));
      socket.end(greeting);
      socket.resume();
      await new Promise((resolve) => socket.once('close', resolve));
    }
    expect((await check()).status).toBe('0');
  });

  it('changes its certificate for new connections and keeps those there are', async () => {
    const nameOf = (socket: tls.TLSSocket): unknown => socket.getPeerX509Certificate()?.subjectAltName;
    const held = connect();
    const session = sessionOver(held);
    await request(session, CHECK);
    listener.setCredentials(await authority.issue({ dns: 'two.example.org' }));
    const fresh = connect({ cert: client.cert, key: client.key });
    await new Promise((resolve) => fresh.once('secureConnect', resolve));
    expect([nameOf(held), nameOf(fresh)]).toEqual(['DNS:one.example.org', 'DNS:two.example.org']);
    peers.length = 0;
    await request(sessionOver(fresh), CHECK);
    expect(peers[0]).toHaveLength(2);
    expect((await request(session, CHECK)).trailers['grpc-status']).toBe('0');
    session.destroy();
    fresh.destroy();
  });
});
