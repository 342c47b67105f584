import type { Duration } from '../core/duration.ts';
import type { SpiffeId } from '../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import type { JwtClaims } from './jwt-claims.ts';
import type { ResourceMeta } from '../policy/schema/resource-meta.ts';

/** A selector of an entry, such as `unix:uid:1000` of type `unix` and value `uid:1000`. */
export interface EntrySelector {
  readonly type: string;
  readonly value: string;
}

/** What StaticIdentity and SPIRE's ClusterStaticEntry have in common: one entry as it stands. */
export interface StaticDeclaration {
  readonly kind: 'StaticIdentity' | 'ClusterStaticEntry';
  readonly meta: ResourceMeta;
  readonly spiffeId: SpiffeId;
  readonly parentId: SpiffeId;
  readonly selectors: readonly EntrySelector[];
  readonly federatesWith: readonly TrustDomain[];
  /** Absent: the CA's default. */
  readonly x509SvidTtl: Duration | undefined;
  /** Absent: the CA's default. */
  readonly jwtSvidTtl: Duration | undefined;
  readonly dnsNames: readonly string[];
  /** May be empty. */
  readonly hint: string;
  readonly admin: boolean;
  readonly downstream: boolean;
  readonly storeSvid: boolean;
  /** Absent: of no class. */
  readonly className: string | undefined;
  /** As they stand: no templates. */
  readonly jwtClaims: JwtClaims;
  /** What policies take the workload for; SPIRE's kind has no such field. */
  readonly workload?: { readonly namespace: string; readonly serviceAccount: string | undefined } | undefined;
}
