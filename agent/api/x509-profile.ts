import { IdentityError } from '../../core/errors.ts';
import { X509BundlesResponseSchema, X509SVIDResponseSchema } from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { encodeMessage, type EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { WorkloadIdentities } from '../cache/identities.ts';
import { sharedProjection, type Projection } from './view-stream.ts';
import { noIdentity } from './workload-call.ts';

/** `FetchX509SVID`: SVIDs with keys, the own bundle in each, and federated bundles (Workload API §5.2.1). */
export const x509Svids: Projection = sharedProjection({
  encode: encodeX509Svids,
  refusal({ entries, identities }) {
    if (entries.length === 0) return noIdentity();
    if (identities.length > 0) return undefined;
    return new IdentityError('unavailable', 'the CA has not signed an X.509-SVID for the calling process; try again');
  },
  // All of them or, as long as one is being signed for the first time, none: the first message is the full set (§4.3).
  isWaiting: ({ pending }) => pending > 0,
});

/** `FetchX509Bundles` (Workload API §5.2.2). */
export const x509Bundles: Projection = sharedProjection({
  encode: encodeX509Bundles,
  refusal: ({ entries }) => (entries.length === 0 ? noIdentity() : undefined),
  isWaiting: () => false,
});

function encodeX509Svids({ identities, bundle, federatedBundles }: WorkloadIdentities): EncodedMessage {
  const authorities = concatenatedAuthorities(bundle);
  const svids = identities.map(({ spiffeId, certificatesDer, privateKeyPkcs8Der, hint }) => ({
    spiffeId: spiffeId.toString(),
    x509Svid: Buffer.concat(certificatesDer),
    x509SvidKey: privateKeyPkcs8Der,
    bundle: authorities,
    hint,
  }));
  return encodeMessage(X509SVIDResponseSchema, { svids, federatedBundles: authoritiesById(federatedBundles.values()) });
}

function encodeX509Bundles({ bundle, federatedBundles }: WorkloadIdentities): EncodedMessage {
  return encodeMessage(X509BundlesResponseSchema, { bundles: authoritiesById([bundle, ...federatedBundles.values()]) });
}

/** X.509 authorities by trust domain ID, as the Workload API wants them: DER, one after the other. */
export function authoritiesById(bundles: Iterable<Bundle>): Record<string, Uint8Array> {
  return Object.fromEntries([...bundles].map((bundle) => [bundle.trustDomain.idString, concatenatedAuthorities(bundle)]));
}

function concatenatedAuthorities({ x509Authorities }: Bundle): Uint8Array {
  return Buffer.concat(x509Authorities.map(({ der }) => der));
}
