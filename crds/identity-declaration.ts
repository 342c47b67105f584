import type { Duration } from '../core/duration.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import type { JwtClaims } from './jwt-claims.ts';
import type { LabelSelector } from '../policy/schema/label-selector.ts';
import type { ResourceMeta } from '../policy/schema/resource-meta.ts';

/** What the resources that select pods have in common: which pods get which identity. */
export interface IdentityDeclaration {
  readonly kind: 'ClusterWorkloadIdentity' | 'WorkloadIdentity' | 'ClusterSPIFFEID';
  readonly meta: ResourceMeta;
  /** Template of the SPIFFE ID. Empty for a WorkloadIdentity, which has {@link pathTemplate} instead. */
  readonly spiffeIdTemplate: string;
  /** Only for a WorkloadIdentity: template of what follows the path of its namespace and a slash. */
  readonly pathTemplate: string | undefined;
  /** Absent: every pod. */
  readonly podSelector: LabelSelector | undefined;
  /** Absent: every namespace. A WorkloadIdentity has none and is for its own namespace (`meta.namespace`) alone. */
  readonly namespaceSelector: LabelSelector | undefined;
  readonly dnsNameTemplates: readonly string[];
  readonly workloadSelectorTemplates: readonly string[];
  /** Of X509-SVIDs. Absent: the CA's default. */
  readonly ttl: Duration | undefined;
  /** Of JWT-SVIDs. Absent: the CA's default. */
  readonly jwtTtl: Duration | undefined;
  readonly federatesWith: readonly TrustDomain[];
  readonly admin: boolean;
  readonly downstream: boolean;
  readonly autoPopulateDnsNames: boolean;
  /** Only for pods that no other declaration gives an identity. */
  readonly fallback: boolean;
  /** Absent: of no class. */
  readonly className: string | undefined;
  /** May be empty. */
  readonly hint: string;
  /** Its strings are templates, at any depth. */
  readonly jwtClaims: JwtClaims;
}
