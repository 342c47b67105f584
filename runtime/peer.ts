import type { Socket } from 'node:net';
import { IdentityError } from '../core/errors.ts';
import type { Bundle, BundleSource } from '../spiffe/bundle.ts';
import { parseCertificate, type Certificate } from '../spiffe/certificate.ts';
import { parseSpiffeId, type SpiffeId } from '../spiffe/spiffe-id.ts';
import { verifyX509Svid } from '../spiffe/x509-svid.ts';
import { PeerProcess, type PeerCredentials } from './peer-credentials.ts';

/** A process on this machine that opened a private socket. */
export interface LocalPeer {
  readonly kind: 'local';
  /** Undefined when the kernel does not tell; the file mode of the socket has let the process in all the same. */
  readonly credentials: PeerCredentials | undefined;
}

/** A TLS client without a certificate. */
export interface AnonymousPeer {
  readonly kind: 'anonymous';
  readonly address: string;
}

/** A TLS client whose certificate could not even be read as an X509-SVID. */
export interface RefusedPeer {
  readonly kind: 'refused';
  readonly address: string;
  readonly reason: IdentityError;
}

/** Who is at the other end of a connection. */
export type Peer = LocalPeer | AnonymousPeer | RefusedPeer | X509Peer;

/**
 * A TLS client that presented an X509-SVID and proved, by the handshake, that it holds the key. Whether to trust it is asked
 * again for every call: a connection outlives certificates and bundles.
 */
export class X509Peer {
  readonly kind = 'x509';
  readonly address: string;
  readonly id: SpiffeId;
  readonly certificate: Certificate;
  readonly #chain: readonly Uint8Array[];
  #trustedBy: Bundle | undefined;
  #expiresAtMs: number;

  constructor(address: string, chain: readonly Uint8Array[]) {
    const [leaf = new Uint8Array()] = chain;
    this.address = address;
    this.certificate = parseCertificate(leaf, 'client_certificate');
    this.id = soleSpiffeId(this.certificate);
    this.#chain = chain;
    this.#expiresAtMs = this.certificate.notAfterMs;
  }

  /** When the certificate, or one that it rests on, ends. */
  get expiresAtMs(): number {
    return this.#expiresAtMs;
  }

  /**
   * Verifies the chain against the bundle of its own trust domain; cheap while that bundle stays the same.
   *
   * @throws IdentityError `unauthenticated`
   */
  verify(bundles: BundleSource, nowMs: number): void {
    const bundle = bundles.bundleOf(this.id.trustDomain);
    if (bundle !== undefined && bundle === this.#trustedBy) {
      if (nowMs <= this.#expiresAtMs) return;
      throw new IdentityError('unauthenticated', 'client certificate has expired');
    }
    this.#trustedBy = undefined;
    try {
      this.#expiresAtMs = verifyX509Svid(this.#chain, bundles, nowMs).expiresAtMs;
    } catch (cause) {
      throw refusal(cause);
    }
    this.#trustedBy = bundle;
  }
}

function soleSpiffeId(certificate: Certificate): SpiffeId {
  const [uri, ...more] = certificate.uriSans;
  if (uri === undefined) throw new IdentityError('unauthenticated', 'client certificate has no URI SAN');
  if (more.length > 0) throw new IdentityError('unauthenticated', 'client certificate has more than one URI SAN');
  return parseSpiffeId(uri, 'client_certificate.uri_san');
}

function refusal(cause: unknown): IdentityError {
  const why = cause instanceof IdentityError ? cause.message : 'it cannot be read';
  return new IdentityError('unauthenticated', `client certificate is not trusted: ${why}`, { cause });
}

/** Who opened a private unix socket; never throws: the socket's file mode decides who gets in. */
export function localPeer(socket: Socket): LocalPeer {
  try {
    using peer = PeerProcess.ofSocket(socket);
    return { kind: 'local', credentials: peer.credentials };
  } catch {
    return { kind: 'local', credentials: undefined };
  }
}

/**
 * Who completed a TLS handshake; for `verifyPeer` of a TLS listener. Never throws: a certificate that cannot be an X509-SVID makes
 * a {@link RefusedPeer}, so that the caller reads why.
 *
 * @param chain DER, leaf first; empty when the client sent none
 */
export function tlsPeer(chain: readonly Uint8Array[], socket: Socket): Peer {
  const address = socket.remoteAddress ?? 'unknown';
  if (chain.length === 0) return { kind: 'anonymous', address };
  try {
    return new X509Peer(address, chain);
  } catch (cause) {
    return { kind: 'refused', address, reason: refusal(cause) };
  }
}

/** The peer as audit records and logs name it: a SPIFFE ID, `local uid=0 pid=42` or `anonymous`. */
export function describePeer(peer: Peer): string {
  if (peer.kind === 'x509') return peer.id.toString();
  if (peer.kind !== 'local') return peer.kind;
  return peer.credentials === undefined ? 'local' : `local uid=${peer.credentials.uid} pid=${peer.credentials.pid}`;
}
