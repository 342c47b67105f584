/** One kind that is judged before it is stored. */
export interface ReviewedKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** The webhook's name in the configuration. */
  readonly webhook: string;
  /** What happens to an object while nobody can judge it. */
  readonly failurePolicy: 'Fail' | 'Ignore';
  /** Whether it is judged before it is deleted, too; that is never in the way while nobody can judge it. */
  readonly judgesDeletion?: boolean;
}

function ours(kind: string, plural: string, namespaced = false): ReviewedKind {
  const webhook = `${plural}.countersign.dev`;
  return { group: 'countersign.dev', version: 'v1alpha1', kind, plural, namespaced, webhook, failurePolicy: 'Fail' };
}

function spire(kind: string, plural: string): ReviewedKind {
  const webhook = `${plural}.spire.countersign.dev`;
  return {
    group: 'spire.spiffe.io',
    version: 'v1alpha1',
    kind,
    plural,
    namespaced: false,
    webhook,
    failurePolicy: 'Ignore',
  };
}

/** Every kind that is judged: our own and SPIRE's. */
export const REVIEWED_KINDS: readonly ReviewedKind[] = [
  ours('ClusterWorkloadIdentity', 'clusterworkloadidentities'),
  ours('WorkloadIdentity', 'workloadidentities', true),
  ours('StaticIdentity', 'staticidentities'),
  ours('FederatedTrustDomain', 'federatedtrustdomains'),
  { ...ours('AuthorizationPolicy', 'authorizationpolicies', true), judgesDeletion: true },
  { ...ours('ClusterAuthorizationPolicy', 'clusterauthorizationpolicies'), judgesDeletion: true },
  ours('RequestAuthentication', 'requestauthentications', true),
  spire('ClusterSPIFFEID', 'clusterspiffeids'),
  spire('ClusterStaticEntry', 'clusterstaticentries'),
  spire('ClusterFederatedTrustDomain', 'clusterfederatedtrustdomains'),
];

/** The path on which the webhook server judges a kind, such as `/admission/countersign.dev/workloadidentities`. */
export function reviewPath({ group, plural }: ReviewedKind): string {
  return `/admission/${group}/${plural}`;
}
