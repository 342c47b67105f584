import { once } from 'node:events';
import { get } from 'node:https';
import { connect, type Server } from 'node:tls';

import { describe, expect, it } from 'vitest';

import {
  authorizeAny,
  authorizeId,
  authorizeMemberOf,
  createSpiffeHttpsServer,
  createSpiffeTlsServer,
  peerIdOf,
  SpiffeHttpsAgent,
  tlsOptions,
  X509BundleSet,
  type Authorizer,
  type X509Context,
} from '../../../client/index.ts';
import { Current } from '../../../core/current.ts';
import type { Bundle } from '../../../spiffe/bundle.ts';
import { parseX509SvidPem } from '../../../spiffe/x509-svid.ts';
import { TestCa, type IssuedSvid } from '../../support/test-ca.ts';

const ca = TestCa.create();
const foreign = TestCa.create({ trustDomain: 'other.org' });

function contextOf(svid: IssuedSvid, ...bundles: readonly Bundle[]): X509Context {
  return { svids: [{ ...parseX509SvidPem(svid.chainPem, svid.keyPem), hint: '' }], bundles: new X509BundleSet(bundles) };
}

const sourceOf = (path: string, issuer = ca): Current<X509Context> =>
  new Current(contextOf(issuer.issueX509Svid(path), ca.bundle()));

async function listen(server: Server): Promise<AsyncDisposable & { readonly port: number }> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** What the client reads before the connection ends: the server greets whom it accepts. */
async function greetingFor(port: number, client: Current<X509Context>, authorize: Authorizer): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, ...tlsOptions(client, { authorize }) });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const failed = new Promise<string>((resolve) =>
    socket.once('error', (error: Error & { code?: string }) => resolve(error.code ?? error.message)),
  );
  const ended = once(socket, 'close').then(() => Buffer.concat(chunks).toString());
  return Promise.race([failed, ended]);
}

function greet(server: Current<X509Context>, authorize: Authorizer): Server {
  return createSpiffeTlsServer(server, { authorize }, (socket, peer) => socket.end(`hello ${peer.toString()}`));
}

describe('mTLS with SVIDs', () => {
  it('proves both SPIFFE IDs, without host names', async () => {
    await using server = await listen(greet(sourceOf('/db'), authorizeId('spiffe://example.org/web')));
    expect(await greetingFor(server.port, sourceOf('/web'), authorizeId('spiffe://example.org/db'))).toBe(
      'hello spiffe://example.org/web',
    );
  });

  it('refuses a client with another SPIFFE ID', async () => {
    await using server = await listen(greet(sourceOf('/db'), authorizeId('spiffe://example.org/web')));
    expect(await greetingFor(server.port, sourceOf('/stranger'), authorizeAny())).not.toContain('hello');
  });

  it('refuses a server with another SPIFFE ID', async () => {
    await using server = await listen(greet(sourceOf('/db'), authorizeAny()));
    expect(await greetingFor(server.port, sourceOf('/web'), authorizeId('spiffe://example.org/other'))).toBe('permission_denied');
  });

  it('refuses a client of a trust domain whose bundle it lacks, and one without a certificate', async () => {
    await using server = await listen(greet(sourceOf('/db'), authorizeAny()));
    expect(await greetingFor(server.port, sourceOf('/web', foreign), authorizeAny())).not.toContain('hello');
    const bare = connect({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false });
    bare.on('error', () => {});
    const data: unknown[] = [];
    bare.on('data', (chunk) => data.push(chunk));
    await new Promise((resolve) => bare.once('close', resolve));
    expect(data).toEqual([]);
  });

  it('does not let one federated trust domain speak for another', async () => {
    // Its own root signs a certificate that names our trust domain: TLS alone would accept it, as both roots are trusted.
    const forged = foreign.issueX509Svid('/x', { uris: ['spiffe://example.org/web'] });
    const both = new Current(contextOf(ca.issueX509Svid('/db'), ca.bundle(), foreign.bundle()));
    await using server = await listen(greet(both, authorizeAny()));
    const client = new Current(contextOf(forged, ca.bundle()));
    expect(await greetingFor(server.port, client, authorizeAny())).not.toContain('hello');
  });

  it('accepts a federated client through its own bundle', async () => {
    const both = new Current(contextOf(ca.issueX509Svid('/db'), ca.bundle(), foreign.bundle()));
    await using server = await listen(greet(both, authorizeMemberOf('other.org')));
    expect(await greetingFor(server.port, sourceOf('/web', foreign), authorizeMemberOf('example.org'))).toBe(
      'hello spiffe://other.org/web',
    );
  });

  it('presents a rotated SVID to new connections and keeps the old ones open', async () => {
    const source = sourceOf('/db');
    const server = createSpiffeHttpsServer(source, { authorize: authorizeAny() }, (request, response) => {
      response.end(peerIdOf(request.socket)?.toString());
    });
    await using listening = await listen(server);
    const agent = new SpiffeHttpsAgent(sourceOf('/web'), { authorize: authorizeAny(), keepAlive: true });
    const before = await fetchOver(agent, listening.port);
    const next = ca.issueX509Svid('/db');
    source.set(contextOf(next, ca.bundle()));
    const kept = await fetchOver(agent, listening.port);
    const fresh = await fetchOver(
      new SpiffeHttpsAgent(sourceOf('/web'), { authorize: authorizeAny(), keepAlive: false }),
      listening.port,
    );
    agent.destroy();
    expect([before.body, kept.body, fresh.body]).toEqual(Array(3).fill('spiffe://example.org/web'));
    expect(kept.localPort).toBe(before.localPort);
    expect(BigInt(`0x${fresh.serial}`)).toBe(BigInt(`0x${next.certificate.serialHex}`));
    expect(fresh.serial).not.toBe(before.serial);
  });

  it('resumes no session: the peer is checked on every connection', async () => {
    await using server = await listen(greet(sourceOf('/db'), authorizeAny()));
    const options = { host: '127.0.0.1', port: server.port, ...tlsOptions(sourceOf('/web'), { authorize: authorizeAny() }) };
    const first = connect(options);
    const sessions: Buffer[] = [];
    first.on('session', (session: Buffer) => sessions.push(session)).resume();
    await once(first, 'close');
    for (const session of sessions) {
      const again = connect({ ...options, session });
      await once(again, 'secureConnect');
      expect(again.isSessionReused()).toBe(false);
      await once(again.resume(), 'close');
    }
  });
});

interface Fetched {
  readonly body: string;
  readonly serial: string;
  readonly localPort: number | undefined;
}

function fetchOver(agent: SpiffeHttpsAgent, port: number): Promise<Fetched> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, agent }, (response) => {
      const { socket } = response;
      const serial = 'getPeerX509Certificate' in socket ? connectSerial(socket) : '';
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('end', () => resolve({ body: Buffer.concat(chunks).toString(), serial, localPort: socket.localPort }));
    }).once('error', reject);
  });
}

function connectSerial(socket: object): string {
  // The cast is sound: only a TLSSocket has the method, and that was checked.
  const { getPeerX509Certificate } = socket as { getPeerX509Certificate: () => { serialNumber: string } | undefined };
  return getPeerX509Certificate.call(socket)?.serialNumber ?? '';
}
