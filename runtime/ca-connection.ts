import type { Clock } from '../core/clock.ts';
import { IdentityError } from '../core/errors.ts';
import type { ListenAddress } from './config-file.ts';
import { connectGrpc, type ClientTls, type GrpcConnection } from './grpc-client.ts';
import type { Bundle } from '../spiffe/bundle.ts';
import { parseCertificate } from '../spiffe/certificate.ts';
import { createSpiffeId, parseSpiffeId } from '../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import { verifyX509Svid } from '../spiffe/x509-svid.ts';

/** What a client of the CA proves itself with. */
export interface ClientSvid {
  readonly chainPem: string;
  readonly privateKeyPem: string;
}

/** How to reach the CA and what to accept as the CA. */
export interface CaConnectionOptions {
  readonly target: ListenAddress;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  /** The bundle to verify the CA against at this moment; undefined trusts whoever calls itself the CA. */
  readonly bundle: () => Bundle | undefined;
  /** The own SVID at this moment; undefined connects without one. */
  readonly svid: () => ClientSvid | undefined;
}

/** Connects to the CA, when first needed. The CA is known by its SPIFFE ID, never by a host name. */
export function connectToCa(options: CaConnectionOptions): GrpcConnection {
  const tls: ClientTls = {
    verifyServer: (chain) => verifyCa(chain, options),
    identity() {
      const svid = options.svid();
      return svid === undefined ? undefined : { certificatePem: svid.chainPem, privateKeyPem: svid.privateKeyPem };
    },
  };
  return connectGrpc({ target: options.target, tls, clock: options.clock });
}

function verifyCa(chain: readonly Uint8Array[], { trustDomain, bundle, clock }: CaConnectionOptions): void {
  const expected = createSpiffeId(trustDomain, '/spire/server').toString();
  refuseOtherTrustDomain(chain, trustDomain);
  const trusted = bundle();
  const presented = trusted === undefined ? claimedId(chain) : verifiedId(chain, trusted, clock.nowMs());
  if (presented === expected) return;
  throw new IdentityError('unavailable', `the server calls itself ${presented}, not ${expected}; is this the address of the CA?`);
}

// Read before anything is verified, only to name the likeliest mistake: nothing is accepted by it.
function refuseOtherTrustDomain(chain: readonly Uint8Array[], own: TrustDomain): void {
  const claimed = trustDomainOf(claimedId(chain));
  if (claimed === undefined || claimed === own.name) return;
  throw new IdentityError(
    'unavailable',
    `the server is of the trust domain ${claimed}, this process's configuration says trustDomain: ${own.name}; correct one of them, or the address of the CA`,
  );
}

function trustDomainOf(id: string): string | undefined {
  try {
    return parseSpiffeId(id).trustDomain.name;
  } catch {
    return undefined;
  }
}

function verifiedId(chain: readonly Uint8Array[], trusted: Bundle, nowMs: number): string {
  try {
    const bundleOf = (trustDomain: TrustDomain): Bundle | undefined =>
      trusted.trustDomain.equals(trustDomain) ? trusted : undefined;
    return verifyX509Svid(chain, { bundleOf }, nowMs).id.toString();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError(
      'unavailable',
      `the certificate of the CA is not trusted (${why}); is the bootstrap bundle that of this CA?`,
      { cause },
    );
  }
}

// Insecure bootstrap: no proof, only a hint that this is not some other server.
function claimedId(chain: readonly Uint8Array[]): string {
  const [leaf] = chain;
  return (leaf === undefined ? undefined : parseCertificate(leaf, 'server').uriSans[0]) ?? 'nothing';
}
