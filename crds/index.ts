import { CLUSTER_WORKLOAD_IDENTITY, parseClusterWorkloadIdentity } from './cluster-workload-identity.ts';
import { FEDERATED_TRUST_DOMAIN, parseFederatedTrustDomain } from './federated-trust-domain.ts';
import type { FederationDeclaration } from './federation-declaration.ts';
import type { IdentityDeclaration } from './identity-declaration.ts';
import type { Parser, ResourceType } from '../policy/schema/resource.ts';
import { AUTHORIZATION_POLICY } from '../policy/resources/authorization-policy.ts';
import { CLUSTER_AUTHORIZATION_POLICY } from '../policy/resources/cluster-authorization-policy.ts';
import { REQUEST_AUTHENTICATION } from '../policy/resources/request-authentication.ts';
import { CLUSTER_FEDERATED_TRUST_DOMAIN_TYPE, parseClusterFederatedTrustDomain } from './spire/cluster-federated-trust-domain.ts';
import { CLUSTER_SPIFFE_ID_TYPE, parseClusterSpiffeId } from './spire/cluster-spiffe-id.ts';
import { CLUSTER_STATIC_ENTRY_TYPE, parseClusterStaticEntry } from './spire/cluster-static-entry.ts';
import type { StaticDeclaration } from './static-declaration.ts';
import { parseStaticIdentity, STATIC_IDENTITY } from './static-identity.ts';
import { parseWorkloadIdentity, WORKLOAD_IDENTITY } from './workload-identity.ts';

/** A kind of resource that the controller acts on: what its objects declare, and how one is read. */
export type ResourceKind =
  | { readonly declares: 'identities'; readonly type: ResourceType; readonly parse: Parser<IdentityDeclaration> }
  | { readonly declares: 'entry'; readonly type: ResourceType; readonly parse: Parser<StaticDeclaration> }
  | { readonly declares: 'federation'; readonly type: ResourceType; readonly parse: Parser<FederationDeclaration> };

/** Our own kinds. Their CustomResourceDefinitions are the `.yaml` files in this folder. */
export const OWN_DEFINITIONS = [CLUSTER_WORKLOAD_IDENTITY, WORKLOAD_IDENTITY, STATIC_IDENTITY, FEDERATED_TRUST_DOMAIN] as const;

/**
 * The kinds of policies; `policy/resources/` defines them, because the CA and the agents read them too. They are not among
 * {@link RESOURCE_KINDS}: what the controller does with them is not the reconciliation of identities.
 */
export const POLICY_DEFINITIONS = [AUTHORIZATION_POLICY, CLUSTER_AUTHORIZATION_POLICY, REQUEST_AUTHENTICATION] as const;

/** Every kind that the controller acts on: ours, and SPIRE's where a cluster serves them. */
export const RESOURCE_KINDS: readonly ResourceKind[] = [
  { declares: 'identities', type: CLUSTER_WORKLOAD_IDENTITY.type, parse: parseClusterWorkloadIdentity },
  { declares: 'identities', type: WORKLOAD_IDENTITY.type, parse: parseWorkloadIdentity },
  { declares: 'identities', type: CLUSTER_SPIFFE_ID_TYPE, parse: parseClusterSpiffeId },
  { declares: 'entry', type: STATIC_IDENTITY.type, parse: parseStaticIdentity },
  { declares: 'entry', type: CLUSTER_STATIC_ENTRY_TYPE, parse: parseClusterStaticEntry },
  { declares: 'federation', type: FEDERATED_TRUST_DOMAIN.type, parse: parseFederatedTrustDomain },
  { declares: 'federation', type: CLUSTER_FEDERATED_TRUST_DOMAIN_TYPE, parse: parseClusterFederatedTrustDomain },
];
