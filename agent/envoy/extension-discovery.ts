import type { Source } from '../../core/current.ts';
import type { ExtensionConfigDiscoveryService } from '../../proto/gen/envoy/service/extension/v3/config_discovery_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Logger } from '../../runtime/log.ts';
import { notReady, whenAttested, type WorkloadCall } from '../api/workload-call.ts';
import type { EntitlementSource } from '../authz/destinations.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import { discovery } from '../xds/discovery.ts';
import { type PolicyInForce, type ProxyState, proxyState } from './proxy-policy.ts';
import { RbacFilters } from './rbac-filters.ts';

/** What extension discovery serves from. */
export interface ExtensionDiscoveryOptions {
  readonly cache: EntitlementSource & { readonly ready: boolean };
  readonly inForce: PolicyInForce;
  readonly log: Logger;
}

/**
 * Envoy's extension config discovery service v3, state of the world and delta: an Envoy gets RBAC filters that enforce the
 * policies of the workload that it was attested as, and each change of them as soon as it is in force.
 *
 * @example
 * server.addService(ExtensionConfigDiscoveryService, extensionDiscovery({ cache, inForce, log }), {
 *   standing: ['streamExtensionConfigs', 'deltaExtensionConfigs'],
 * });
 */
export function extensionDiscovery(
  options: ExtensionDiscoveryOptions,
): ServiceHandlers<typeof ExtensionConfigDiscoveryService, Workload> {
  const { cache, inForce, log } = options;
  const viewFor = async (call: WorkloadCall): Promise<Source<ProxyState>> => {
    if (!cache.ready) throw notReady();
    return whenAttested(call, (selectors) => proxyState(selectors, cache.entitlementsOf(selectors), inForce));
  };
  const { stream, delta, fetch } = discovery({ resources: new RbacFilters(inForce), log, viewFor });
  return { streamExtensionConfigs: stream, deltaExtensionConfigs: delta, fetchExtensionConfigs: fetch };
}
