import type { SecretDiscoveryService } from '../../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Logger } from '../../runtime/log.ts';
import { notReady, whenAttested, type WorkloadCall } from '../api/workload-call.ts';
import type { Source } from '../../core/current.ts';
import type { IdentitySource } from '../cache/identities.ts';
import { type PolicyInForce, type ProxyState, proxyState } from '../envoy/proxy-policy.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import { discovery } from '../xds/discovery.ts';
import type { SdsConfig } from './config.ts';
import { Secrets } from './secrets.ts';

/** What SDS serves from. */
export interface SecretDiscoveryOptions {
  readonly cache: IdentitySource;
  readonly config: SdsConfig;
  readonly log: Logger;
  /** The policy that says who may connect; without it nobody is told. */
  readonly inForce?: PolicyInForce | undefined;
}

/**
 * Envoy's secret discovery service v3, state of the world and delta: an Envoy gets the X.509-SVIDs and bundles of the
 * workload that it was attested as, and each new one as soon as it is there.
 */
export function secretDiscovery(options: SecretDiscoveryOptions): ServiceHandlers<typeof SecretDiscoveryService, Workload> {
  const { cache, config, log, inForce } = options;
  const viewFor = async (call: WorkloadCall): Promise<Source<ProxyState>> => {
    if (!cache.ready) throw notReady();
    return whenAttested(call, (selectors) => proxyState(selectors, cache.identitiesFor(selectors), inForce));
  };
  const { stream, delta, fetch } = discovery({ resources: new Secrets(config, inForce), log, viewFor });
  return { streamSecrets: stream, deltaSecrets: delta, fetchSecrets: fetch };
}
