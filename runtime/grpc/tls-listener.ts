import { constants } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type TlsOptions, type TLSSocket } from 'node:tls';
import { IdentityError } from '../../core/errors.ts';
import { acceptInto } from './accept.ts';
import { DEFAULT_LIMITS, LISTEN_BACKLOG } from './limits.ts';
import type { GrpcServer } from './server.ts';

/** The server's own certificate chain, leaf first, and its key; both PEM. */
export interface TlsCredentials {
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
}

/** How a TLS port is served. */
export interface TlsListenOptions<P> {
  readonly host: string;
  readonly port: number;
  readonly credentials: TlsCredentials;
  /**
   * Judges the client's certificate chain: DER, leaf first, empty when the client sent none. Nothing has been verified but
   * that the client holds the leaf's key. What it throws closes the connection.
   */
  readonly verifyPeer: (chain: readonly Uint8Array[], socket: TLSSocket) => P | Promise<P>;
  /** Told of connections that were refused, and why: failed handshakes too. */
  readonly onRefused?: (error: unknown) => void;
  readonly handshakeTimeoutMs?: number;
}

/** A TLS port that is served. Closing it stops new connections only; those that exist belong to the server. */
export interface TlsListener extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** Serves new connections with another certificate; those that exist go on. */
  setCredentials(credentials: TlsCredentials): void;
  close(): Promise<void>;
}

/** Longest chain that is read; what a hostile client adds beyond it is left out, and then does not verify. */
const MAX_CHAIN = 10;

/**
 * The settings that make a connection's certificate trustworthy on each connection. A resumed session skips the client's
 * certificate, so there are no tickets, and no TLS before 1.3. The empty list of CAs makes the TLS layer accept nobody by
 * itself: when it does, Node drops the chain, and the judgement is `verifyPeer`'s alone.
 */
const FIXED: TlsOptions = {
  minVersion: 'TLSv1.3',
  secureOptions: constants.SSL_OP_NO_TICKET,
  requestCert: true,
  rejectUnauthorized: false,
  ca: [],
  ALPNProtocols: ['h2'],
};

/** Serves gRPC over TLS 1.3; clients may, and for most methods must, bring a certificate. */
export async function listenTls<P>(server: GrpcServer<P>, options: TlsListenOptions<P>): Promise<TlsListener> {
  const { credentials, verifyPeer, onRefused = () => {}, handshakeTimeoutMs = DEFAULT_LIMITS.handshakeTimeoutMs } = options;
  const listener = createServer({ ...FIXED, ...credentials, handshakeTimeout: handshakeTimeoutMs });
  const identify = (socket: TLSSocket): P | Promise<P> => {
    if (socket.alpnProtocol !== 'h2') throw new IdentityError('unauthenticated', 'the client does not speak HTTP/2 (ALPN h2)');
    return verifyPeer(chainOf(socket), socket);
  };
  listener.on('secureConnection', (socket) => acceptInto(server, socket, { identify, onRefused }));
  // Node leaves a connection open whose handshake took too long.
  listener.on('tlsClientError', (error, socket) => {
    socket.destroy();
    onRefused(error);
  });
  const { address, port } = await listen(listener, options);
  const close = (): Promise<void> => {
    listener.close();
    return Promise.resolve();
  };
  const setCredentials = (next: TlsCredentials): void => listener.setSecureContext({ ...FIXED, ...next });
  return { host: address, port, setCredentials, close, [Symbol.asyncDispose]: close };
}

function listen(listener: Server, { host, port }: { readonly host: string; readonly port: number }): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ port, host, backlog: LISTEN_BACKLOG }, () => {
      listener.off('error', reject);
      // An accept that fails (no descriptor left) is over with that connection.
      listener.on('error', () => {});
      // The cast is sound: a listener on a TCP port has an AddressInfo.
      resolve(listener.address() as AddressInfo);
    });
  });
}

function chainOf(socket: TLSSocket): Uint8Array[] {
  const chain: Uint8Array[] = [];
  let certificate = socket.getPeerX509Certificate();
  while (certificate !== undefined && chain.length < MAX_CHAIN) {
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  return chain;
}
