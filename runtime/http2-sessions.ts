import {
  connect as connectHttp2,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { connect as connectNet, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';

import type { GrpcTransportOptions } from '@connectrpc/connect-node';

import type { Clock, Timer } from '../core/clock.ts';
import { IdentityError } from '../core/errors.ts';
import type { ListenAddress } from './config-file.ts';

/** How a client proves itself and whom it accepts. Asked anew for each connection, so both sides may rotate. */
export interface ClientTls {
  /** Checks the chain that the server presented, leaf first, as DER; throws to refuse it. */
  readonly verifyServer: (chain: readonly Uint8Array[]) => void;
  /** The client's own certificate chain and key as PEM, when it has one. */
  readonly identity?: () => { readonly certificatePem: string; readonly privateKeyPem: string } | undefined;
}

/** Where and how {@link Http2Sessions} connects. */
export interface Http2SessionsOptions {
  readonly target: ListenAddress;
  readonly tls?: ClientTls;
  readonly clock: Clock;
  /** How often a connection with open streams is probed, in milliseconds; 30 s unless given. */
  readonly pingIntervalMs?: number;
}

type SessionManager = NonNullable<GrpcTransportOptions['sessionManager']>;
type StreamOptions = Omit<ClientSessionRequestOptions, 'signal'>;

const CONNECT_TIMEOUT_MS = 10_000;
const PING_TIMEOUT_MS = 15_000;

/**
 * One HTTP/2 connection to a gRPC server, made when first needed and again after it was lost. The server's certificate is
 * verified before the first byte of HTTP/2 leaves, by SPIFFE ID and not by host name.
 */
export class Http2Sessions implements SessionManager {
  readonly authority: string;
  readonly #options: Http2SessionsOptions;
  #session: Promise<ClientHttp2Session> | undefined;
  #closed = false;

  constructor(options: Http2SessionsOptions) {
    this.#options = options;
    this.authority = `${options.tls === undefined ? 'http' : 'https'}://${authorityOf(options.target)}`;
  }

  async request(method: string, path: string, headers: OutgoingHttpHeaders, options: StreamOptions): Promise<ClientHttp2Stream> {
    const session = await this.#ready();
    return session.request({ ...headers, ':method': method, ':path': path }, options);
  }

  /** Part of connect's interface; liveness is judged by pings alone here. */
  notifyResponseByteRead(): void {}

  /** Lets open streams finish on the present connection; the next request makes a new one, with the identity of then. */
  renew(): void {
    const present = this.#session;
    this.#session = undefined;
    present?.then((session) => session.close()).catch(() => {});
  }

  /** Ends the connection and every stream on it, for good. */
  close(): void {
    this.#closed = true;
    const present = this.#session;
    this.#session = undefined;
    present?.then((session) => session.destroy()).catch(() => {});
  }

  #ready(): Promise<ClientHttp2Session> {
    if (this.#session !== undefined) return this.#session;
    if (this.#closed) throw new IdentityError('cancelled', 'the connection has been closed');
    const pending = this.#connect();
    this.#session = pending;
    const forget = (): void => {
      if (this.#session === pending) this.#session = undefined;
    };
    pending.then((session) => session.once('goaway', forget).once('close', forget)).catch(forget);
    return pending;
  }

  async #connect(): Promise<ClientHttp2Session> {
    const socket = await this.#openSocket();
    const session = connectHttp2(this.authority, { createConnection: () => socket });
    // A failure reaches each stream on its own; without a listener the event would end the process.
    session.on('error', () => {});
    this.#keepAlive(session);
    return session;
  }

  async #openSocket(): Promise<Socket> {
    const { target, tls, clock } = this.#options;
    const socket = target.kind === 'unix' ? connectNet(target.path) : connectNet(target.port, target.host);
    socket.setNoDelay(true);
    const secured = tls === undefined ? socket : secure(socket, tls);
    const event = tls === undefined ? 'connect' : 'secureConnect';
    await connected({ socket: secured, event, target, clock });
    if (tls !== undefined) verifyServer(secured, tls);
    return secured;
  }

  #keepAlive(session: ClientHttp2Session): void {
    const { clock, pingIntervalMs = 30_000 } = this.#options;
    let timer: Timer;
    const probe = (): void => {
      // Destroyed, but its close event is still to come: a ping would throw out of the timer.
      if (session.destroyed) return;
      const overdue = clock.setTimer(PING_TIMEOUT_MS, () =>
        session.destroy(new IdentityError('unavailable', 'server stopped answering pings')),
      );
      const sent = session.ping(() => {
        overdue.cancel();
        if (!session.destroyed) timer = clock.setTimer(pingIntervalMs, probe);
      });
      if (!sent) overdue.cancel();
    };
    timer = clock.setTimer(pingIntervalMs, probe);
    session.once('close', () => timer.cancel());
  }
}

function authorityOf(target: ListenAddress): string {
  if (target.kind === 'unix') return 'localhost';
  return `${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`;
}

function secure(socket: Socket, tls: ClientTls): TLSSocket {
  const identity = tls.identity?.();
  return connectTls({
    socket,
    ALPNProtocols: ['h2'],
    minVersion: 'TLSv1.3',
    // The chain is verified in verifyServer, against the bundle of the trust domain: a host name proves nothing here.
    rejectUnauthorized: false,
    ...(identity === undefined ? {} : { cert: identity.certificatePem, key: identity.privateKeyPem }),
  });
}

function verifyServer(socket: Socket, tls: ClientTls): void {
  try {
    // The cast is sound: secure() made this socket.
    tls.verifyServer(presentedChain(socket as TLSSocket));
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** The certificates that the peer of a TLS connection presented, leaf first, as DER. */
export function presentedChain(socket: TLSSocket): Uint8Array[] {
  const chain: Uint8Array[] = [];
  const seen = new Set<object>();
  let certificate: ReturnType<TLSSocket['getPeerX509Certificate']> = socket.getPeerX509Certificate();
  while (certificate !== undefined && !seen.has(certificate)) {
    seen.add(certificate);
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  return chain;
}

interface Connecting {
  readonly socket: Socket;
  readonly event: 'connect' | 'secureConnect';
  readonly target: ListenAddress;
  readonly clock: Clock;
}

function connected({ socket, event, target, clock }: Connecting): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => {
      timer.cancel();
      const where = target.kind === 'unix' ? target.path : authorityOf(target);
      reject(new IdentityError('unavailable', `cannot connect to ${where} (${cause.message}); is it running?`, { cause }));
    };
    const timer = clock.setTimer(CONNECT_TIMEOUT_MS, () =>
      socket.destroy(new Error(`no answer in ${CONNECT_TIMEOUT_MS / 1000} s`)),
    );
    socket.once('error', fail);
    socket.once('close', () => fail(new Error('connection closed')));
    socket.once(event, () => {
      timer.cancel();
      socket.off('error', fail);
      socket.on('error', () => {});
      resolve();
    });
  });
}
