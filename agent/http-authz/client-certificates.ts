import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Bundle, BundleSource } from '../../spiffe/bundle.ts';
import { decodePem } from '../../spiffe/pem.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { verifyX509Svid } from '../../spiffe/x509-svid.ts';
import type { EntitlementSource } from '../authz/destinations.ts';
import type { WorkloadIdentities } from '../cache/identities.ts';
import type { SelectorSet } from '../cache/selectors.ts';

/** What {@link ClientCertificates} is made of. */
export interface ClientCertificatesOptions {
  readonly identities: EntitlementSource;
  readonly clock: Clock;
}

interface Known {
  readonly id: SpiffeId;
  readonly bundle: Bundle;
  readonly expiresAtMs: number;
}

/** Several times what a certificate with the largest key takes. */
const MAX_ESCAPED_BYTES = 32_768;
const MAX_KNOWN = 1_000;
const MAX_BETWEEN = 15;

/**
 * Whose certificates proxies verified. They are verified again, against the bundle of the ID's own trust domain, and only with bundles
 * that the proxy's workload is given: a proxy knows certificates, and not which authority may speak for which trust domain. What was
 * verified is kept until it expires or its bundle changes.
 */
export class ClientCertificates {
  readonly #options: ClientCertificatesOptions;
  readonly #known = new Map<string, Known>();

  constructor(options: ClientCertificatesOptions) {
    this.#options = options;
  }

  /**
   * The SPIFFE ID of a certificate. A proxy passes it on without the authorities between it and the bundle: those of the proxy's own
   * SVID are tried.
   *
   * @param escapedPem as nginx's `$ssl_client_escaped_cert` holds it
   * @param asking the proxy, as it was attested
   * @throws IdentityError `unauthenticated`
   */
  idOf(escapedPem: string, asking: SelectorSet): SpiffeId {
    const { identities, clock } = this.#options;
    const workload = identities.entitlementsOf(asking).value;
    const nowMs = clock.nowMs();
    const known = this.#known.get(escapedPem);
    if (known !== undefined && nowMs <= known.expiresAtMs && bundleIn(workload, known.id.trustDomain) === known.bundle)
      return known.id;
    const verified = verify(escapedPem, workload, nowMs);
    this.#keep(escapedPem, verified);
    return verified.id;
  }

  #keep(escapedPem: string, verified: Known): void {
    this.#known.delete(escapedPem);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size < MAX_KNOWN) break;
      this.#known.delete(oldest);
    }
    this.#known.set(escapedPem, verified);
  }
}

function verify(escapedPem: string, workload: WorkloadIdentities, nowMs: number): Known {
  try {
    if (escapedPem.length > MAX_ESCAPED_BYTES) throw new IdentityError('unauthenticated', 'it is too large');
    const [leaf, ...more] = decodePem(decodeURIComponent(escapedPem), 'CERTIFICATE', 'certificate');
    if (leaf === undefined || more.length > 0) throw new IdentityError('unauthenticated', 'it is not one certificate');
    const between = workload.identities.flatMap(({ certificatesDer: [, ...signers] }) => signers);
    const bundles: BundleSource = { bundleOf: (trustDomain) => bundleIn(workload, trustDomain) };
    const { id, expiresAtMs } = verifyX509Svid([leaf, ...distinct(between)], bundles, nowMs);
    const bundle = bundles.bundleOf(id.trustDomain);
    if (bundle === undefined) throw new IdentityError('unauthenticated', 'its trust domain is not known');
    return { id, expiresAtMs, bundle };
  } catch (cause) {
    const detail = cause instanceof IdentityError ? cause.message : 'it cannot be read';
    throw new IdentityError('unauthenticated', `the client certificate is not trusted: ${detail}`, { cause });
  }
}

function bundleIn({ bundle, federatedBundles }: WorkloadIdentities, trustDomain: TrustDomain): Bundle | undefined {
  return bundle.trustDomain.equals(trustDomain) ? bundle : federatedBundles.get(trustDomain.name);
}

/** One of each; a chain has 16 certificates at most. */
function distinct(certificates: readonly Uint8Array[]): readonly Uint8Array[] {
  return [...new Map(certificates.map((der) => [Buffer.from(der).toString('base64'), der])).values()].slice(0, MAX_BETWEEN);
}
