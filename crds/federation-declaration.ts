import type { SpiffeId } from '../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import type { ResourceMeta } from '../policy/schema/resource-meta.ts';

/** How the bundle endpoint proves who it is (SPIFFE Federation §5.2). */
export type EndpointProfile =
  | { readonly type: 'https_web' }
  | { readonly type: 'https_spiffe'; readonly endpointSpiffeId: SpiffeId };

/** What FederatedTrustDomain and SPIRE's ClusterFederatedTrustDomain have in common. */
export interface FederationDeclaration {
  readonly kind: 'FederatedTrustDomain' | 'ClusterFederatedTrustDomain';
  readonly meta: ResourceMeta;
  readonly trustDomain: TrustDomain;
  /** Begins with `https://`. */
  readonly bundleEndpointUrl: string;
  readonly bundleEndpointProfile: EndpointProfile;
  /** The bundle to begin with: the text of a SPIFFE bundle document, not parsed yet. */
  readonly trustDomainBundle: string | undefined;
  /** Absent: of no class. */
  readonly className: string | undefined;
}
