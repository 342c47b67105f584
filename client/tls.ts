import { constants } from 'node:crypto';
import { Agent, createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import type { RequestListener } from 'node:http';
import {
  connect,
  createServer as createTlsServer,
  type ConnectionOptions,
  type PeerCertificate,
  type Server as TlsServer,
  type TLSSocket,
} from 'node:tls';

import { systemClock, type Clock } from '../core/clock.ts';
import type { Source } from '../core/current.ts';
import { IdentityError } from '../core/errors.ts';
import { encodePem } from '../spiffe/certificate.ts';
import type { SpiffeId } from '../spiffe/spiffe-id.ts';
import { verifyX509Svid, type VerifiedX509Svid } from '../spiffe/x509-svid.ts';
import type { Authorizer } from './authorize.ts';
import type { X509BundleSet, X509Context } from './x509-context.ts';

/** Whom to accept, and with which identity. */
export interface TlsIdentityOptions {
  /** Decides on the peer's proven SPIFFE ID. */
  readonly authorize: Authorizer;
  readonly clock?: Clock;
}

type ContextOptions = Required<Pick<ConnectionOptions, 'cert' | 'key' | 'ca' | 'minVersion' | 'secureOptions'>>;

// A resumed session would skip the check of the peer's certificate, so no tickets are given out.
const NO_RESUMPTION = constants.SSL_OP_NO_TICKET;

/**
 * Options for `tls.connect` and `https.request`: mTLS with the workload's own SVID, the peer verified by its SPIFFE ID instead
 * of a host name. They hold the identity of this moment: make them anew for each connection, or use {@link SpiffeHttpsAgent}.
 *
 * @example
 * const socket = tls.connect({ host, port, ...tlsOptions(source, { authorize: authorizeId('spiffe://example.org/db') }) });
 */
export function tlsOptions(source: Source<X509Context>, options: TlsIdentityOptions): ConnectionOptions {
  return {
    ...contextOptions(source.value),
    rejectUnauthorized: true,
    // An intermediate in a bundle is trusted as it stands (X509-SVID §5.1: the bundle's certificates are the trust anchors).
    allowPartialTrustChain: true,
    checkServerIdentity: (_host, certificate) => refusalOf(() => verifyPeer(chainOf(certificate), source.value, options)),
  };
}

/** An `https.Agent` whose every new connection uses the newest SVID and bundles; kept connections stay open across rotations. */
export class SpiffeHttpsAgent extends Agent {
  readonly #source: Source<X509Context>;
  readonly #options: TlsIdentityOptions;

  constructor(source: Source<X509Context>, options: TlsIdentityOptions & { readonly keepAlive?: boolean }) {
    super({ keepAlive: options.keepAlive ?? true, maxCachedSessions: 0 });
    this.#source = source;
    this.#options = options;
  }

  override createConnection(options: ConnectionOptions): TLSSocket {
    return connect({ ...options, ...tlsOptions(this.#source, this.#options), servername: '' });
  }
}

/** A `tls.Server` that presents the newest SVID to each new connection and refuses peers that `authorize` refuses. */
export function createSpiffeTlsServer(
  source: Source<X509Context>,
  options: TlsIdentityOptions,
  onConnection: (socket: TLSSocket, peer: SpiffeId) => void,
): TlsServer {
  const server = createTlsServer({ ...serverOptions(source) });
  guard(server, source, options);
  server.on('secureConnection', (socket) => {
    const peer = peerIdOf(socket);
    if (peer !== undefined) onConnection(socket, peer);
  });
  return server;
}

/** An `https.Server` of the same kind; {@link peerIdOf} of `request.socket` says who calls. */
export function createSpiffeHttpsServer(
  source: Source<X509Context>,
  options: TlsIdentityOptions,
  onRequest: RequestListener,
): HttpsServer {
  const server = createHttpsServer({ ...serverOptions(source) }, onRequest);
  guard(server, source, options);
  return server;
}

/** Whom a connection was accepted from. */
export interface VerifiedPeer {
  readonly id: SpiffeId;
  /** Whether its certificate would be accepted again: a connection may be kept longer than that, or than its authority is trusted. */
  isTrusted(nowMs: number): boolean;
}

class AcceptedPeer implements VerifiedPeer {
  readonly id: SpiffeId;
  readonly #chain: readonly Uint8Array[];
  readonly #source: Source<X509Context>;
  readonly #expiresAtMs: number;
  #verifiedWith: X509BundleSet;

  /** @throws IdentityError `unauthenticated`, or what `authorize` throws */
  constructor(chain: readonly Uint8Array[], source: Source<X509Context>, options: TlsIdentityOptions) {
    const { id, expiresAtMs } = verifyPeer(chain, source.value, options);
    this.id = id;
    this.#chain = chain;
    this.#source = source;
    this.#expiresAtMs = expiresAtMs;
    this.#verifiedWith = source.value.bundles;
  }

  isTrusted(nowMs: number): boolean {
    if (nowMs > this.#expiresAtMs) return false;
    const { bundles } = this.#source.value;
    if (bundles === this.#verifiedWith) return true;
    if (refusalOf(() => verifyX509Svid(this.#chain, bundles, nowMs)) !== undefined) return false;
    this.#verifiedWith = bundles;
    return true;
  }
}

const verifiedPeers = new WeakMap<object, VerifiedPeer>();

/** The proven SPIFFE ID of the peer of a connection to one of this module's servers; undefined for any other socket. */
export function peerIdOf(socket: object): SpiffeId | undefined {
  return verifiedPeers.get(socket)?.id;
}

/** The same, with whether it is still trusted. */
export function verifiedPeerOf(socket: object): VerifiedPeer | undefined {
  return verifiedPeers.get(socket);
}

function serverOptions(
  source: Source<X509Context>,
): ContextOptions & { requestCert: true; rejectUnauthorized: true; allowPartialTrustChain: true } {
  return { ...contextOptions(source.value), requestCert: true, rejectUnauthorized: true, allowPartialTrustChain: true };
}

/** Keeps a server's identity current until it closes, and its peers verified before anybody else sees them. */
function guard(server: TlsServer, source: Source<X509Context>, options: TlsIdentityOptions): void {
  const unsubscribe = source.subscribe((context) =>
    server.setSecureContext({ ...contextOptions(context), allowPartialTrustChain: true }),
  );
  server.once('close', unsubscribe);
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    try {
      verifiedPeers.set(socket, new AcceptedPeer(chainOf(socket.getPeerCertificate(true)), source, options));
    } catch (error) {
      server.emit('tlsClientError', error, socket);
      socket.destroy();
    }
  });
}

function contextOptions({ svids: [svid], bundles }: X509Context): ContextOptions {
  const authorities = [...bundles].flatMap(({ x509Authorities }) =>
    x509Authorities.map(({ der }) => encodePem('CERTIFICATE', der)),
  );
  return {
    cert: svid.chain.map(({ raw }) => encodePem('CERTIFICATE', raw)).join(''),
    key: svid.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ca: authorities,
    minVersion: 'TLSv1.3',
    secureOptions: NO_RESUMPTION,
  };
}

function verifyPeer(chain: readonly Uint8Array[], { bundles }: X509Context, options: TlsIdentityOptions): VerifiedX509Svid {
  const verified = verifyX509Svid(chain, bundles, (options.clock ?? systemClock).nowMs());
  options.authorize(verified.id);
  return verified;
}

function refusalOf(check: () => unknown): Error | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new IdentityError('internal', 'the peer could not be checked', { cause: error });
  }
}

/** The chain that TLS completed, leaf first, without the self-signed root that Node appends to itself. */
function chainOf(leaf: PeerCertificate): Uint8Array[] {
  const chain: Uint8Array[] = [];
  const seen = new Set<string>();
  // Node types only the detailed form with issuerCertificate; the root's points at itself.
  let next: (PeerCertificate & { issuerCertificate?: PeerCertificate }) | undefined = leaf;
  while (next?.raw !== undefined && !seen.has(next.fingerprint256)) {
    seen.add(next.fingerprint256);
    chain.push(next.raw);
    next = next.issuerCertificate;
  }
  return chain;
}
