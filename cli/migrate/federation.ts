// Federation: SPIRE's bundles of foreign trust domains, and from where it keeps them current.
import { isDeepStrictEqual } from 'node:util';

import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { TrustDomain as TrustDomainService } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import type { Bundle } from '../../proto/gen/spire/api/types/bundle_pb.ts';
import type { FederationRelationship } from '../../proto/gen/spire/api/types/federationrelationship_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { requireOk } from '../item-status.ts';

/** What of SPIRE's federation is not here. */
export interface FederationPlan {
  readonly bundles: readonly Bundle[];
  readonly missing: readonly FederationRelationship[];
  readonly changed: readonly FederationRelationship[];
}

/** Compares the two servers. */
export async function planFederation({ spire, ca }: { spire: GrpcConnection; ca: GrpcConnection }): Promise<FederationPlan> {
  const [theirBundles, ourBundles, theirs, ours] = await Promise.all([
    allBundles(spire),
    allBundles(ca),
    allRelationships(spire),
    allRelationships(ca),
  ]);
  const here = new Map(ours.map((relationship) => [relationship.trustDomain, relationship]));
  const knownBundles = new Set(ourBundles.map(({ trustDomain }) => trustDomain));
  return {
    bundles: theirBundles.filter(({ trustDomain }) => !knownBundles.has(trustDomain)),
    missing: theirs.filter(({ trustDomain }) => !here.has(trustDomain)),
    changed: theirs.filter((relationship) => {
      const known = here.get(relationship.trustDomain);
      return known !== undefined && !isDeepStrictEqual(endpointOf(known), endpointOf(relationship));
    }),
  };
}

function endpointOf({ bundleEndpointUrl, bundleEndpointProfile }: FederationRelationship): unknown {
  const { case: profile, value } = bundleEndpointProfile;
  return [bundleEndpointUrl, profile, profile === 'httpsSpiffe' ? value.endpointSpiffeId : ''];
}

async function allBundles(connection: GrpcConnection): Promise<readonly Bundle[]> {
  const bundles: Bundle[] = [];
  let pageToken = '';
  do {
    const page = await connection.client(BundleService).listFederatedBundles({ pageSize: 500, pageToken });
    bundles.push(...page.bundles);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return bundles;
}

async function allRelationships(connection: GrpcConnection): Promise<readonly FederationRelationship[]> {
  const relationships: FederationRelationship[] = [];
  let pageToken = '';
  do {
    const page = await connection.client(TrustDomainService).listFederationRelationships({ pageSize: 500, pageToken });
    relationships.push(...page.federationRelationships);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return relationships;
}

/** Brings what is missing here; what differs is brought only when asked for. */
export async function applyFederation(
  ca: GrpcConnection,
  { bundles, missing, changed }: FederationPlan,
  update: boolean,
): Promise<void> {
  if (bundles.length > 0) {
    const { results } = await ca.client(BundleService).batchSetFederatedBundle({ bundle: [...bundles] });
    for (const { status } of results) requireOk(status);
  }
  const trustDomains = ca.client(TrustDomainService);
  if (missing.length > 0) {
    const { results } = await trustDomains.batchCreateFederationRelationship({ federationRelationships: [...missing] });
    for (const { status } of results) requireOk(status);
  }
  if (!update || changed.length === 0) return;
  const inputMask = { bundleEndpointUrl: true, bundleEndpointProfile: true };
  const { results } = await trustDomains.batchUpdateFederationRelationship({ federationRelationships: [...changed], inputMask });
  for (const { status } of results) requireOk(status);
}
