import type { SecretDiscoveryService } from '../../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Logger } from '../../runtime/log.ts';
import { notReady, whenAttested, type WorkloadCall } from '../api/workload-call.ts';
import type { IdentitySource, IdentityView } from '../cache/identities.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import { discovery } from '../xds/discovery.ts';
import type { SdsConfig } from './config.ts';
import { Secrets } from './secrets.ts';

/** What SDS serves from. */
export interface SecretDiscoveryOptions {
  readonly cache: IdentitySource;
  readonly config: SdsConfig;
  readonly log: Logger;
}

/**
 * Envoy's secret discovery service v3, state of the world and delta: an Envoy gets the X.509-SVIDs and bundles of the
 * workload that it was attested as, and each new one as soon as it is there.
 */
export function secretDiscovery(options: SecretDiscoveryOptions): ServiceHandlers<typeof SecretDiscoveryService, Workload> {
  const { cache, config, log } = options;
  const viewFor = async (call: WorkloadCall): Promise<IdentityView> => {
    if (!cache.ready) throw notReady();
    return whenAttested(call, (selectors) => cache.identitiesFor(selectors));
  };
  const { stream, delta, fetch } = discovery({ resources: new Secrets(config), log, viewFor });
  return { streamSecrets: stream, deltaSecrets: delta, fetchSecrets: fetch };
}
