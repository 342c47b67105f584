// What an Envoy with native access control needs: an agent's socket with SDS and extension discovery.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Destinations } from '../../agent/authz/destinations.ts';
import type { IdentityView } from '../../agent/cache/identities.ts';
import type { SelectorSet } from '../../agent/cache/selectors.ts';
import { extensionDiscovery } from '../../agent/envoy/extension-discovery.ts';
import type { PolicyInForce } from '../../agent/envoy/proxy-policy.ts';
import { secretDiscovery } from '../../agent/sds/secret-discovery.ts';
import type { Workload } from '../../agent/workload-attest/attestation.ts';
import { systemClock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { SecretDiscoveryService } from '../../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import { ExtensionConfigDiscoveryService } from '../../proto/gen/envoy/service/extension/v3/config_discovery_pb.ts';
import { GrpcServer } from '../../runtime/grpc/server.ts';
import { listenUnix } from '../../runtime/grpc/unix-listener.ts';
import type { EnforcedPolicies } from './enforced-policies.ts';
import { selectorSetOf } from './enforced-policies.ts';
import type { EnvoyOptions } from './envoy.ts';
import { DEFAULT_SDS } from './sds-rig.ts';
import type { StandInIdentities } from './stand-in-identities.ts';

type Protocol = EnvoyOptions['protocol'];

/** A served socket; dispose of it. */
export class RbacRig implements AsyncDisposable {
  readonly path: string;
  readonly logged: string[] = [];
  readonly staleness = new Current(false);
  /** As what proxies are attested. */
  asking: SelectorSet = selectorSetOf(['unix:uid:0']);
  readonly #folder: string;
  readonly #policies: EnforcedPolicies;
  readonly #identities: StandInIdentities;
  #close: () => Promise<void> = async () => {};

  private constructor(folder: string, policies: EnforcedPolicies, identities: StandInIdentities) {
    this.#folder = folder;
    this.path = join(folder, 's');
    this.#policies = policies;
    this.#identities = identities;
  }

  /** @param identities what SDS serves; what filters are about, `policies` says */
  static async start(policies: EnforcedPolicies, identities: StandInIdentities): Promise<RbacRig> {
    const rig = new RbacRig(await mkdtemp(join(tmpdir(), 'rbac-')), policies, identities);
    await rig.listen();
    return rig;
  }

  /** Serves, on the same path as before. */
  async listen(): Promise<void> {
    const log = pino({ level: 'trace' }, { write: (line: string) => void this.logged.push(line) });
    const { identities, policy } = this.#policies;
    const inForce: PolicyInForce = { policy, staleness: this.staleness, destinations: new Destinations(identities) };
    const server = new GrpcServer<Workload>({ clock: systemClock });
    const secrets = secretDiscovery({ cache: this.#identities, config: DEFAULT_SDS, log, inForce });
    server.addService(SecretDiscoveryService, secrets, { standing: ['streamSecrets', 'deltaSecrets'] });
    const cache = { ready: true, entitlementsOf: (asking: SelectorSet) => this.#withBundles(identities.entitlementsOf(asking)) };
    server.addService(ExtensionConfigDiscoveryService, extensionDiscovery({ cache, inForce, log }), {
      standing: ['streamExtensionConfigs', 'deltaExtensionConfigs'],
    });
    const listener = await listenUnix(server, this.path, { mode: 0o600, onAccept: () => this.#proxy() });
    this.#close = async () => {
      await listener.close();
      await server.close({ graceMs: 0 });
    };
  }

  /** Stops serving, as if the agent were gone. */
  async stop(): Promise<void> {
    await this.#close();
    this.#close = async () => {};
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** With the bundles that SDS serves. */
  #withBundles(view: IdentityView): IdentityView {
    const { view: served } = this.#identities;
    return {
      get value() {
        const { bundle, federatedBundles } = served.value;
        return { ...view.value, bundle, federatedBundles };
      },
      subscribe: (listener) => view.subscribe(listener),
    };
  }

  #proxy(): Workload {
    const inspect = (): never => {
      throw new Error('not inspected');
    };
    return { pid: process.pid, attest: () => this.asking, inspect, [Symbol.dispose]: () => {} };
  }
}

const DENY_ALL = { action: 'ALLOW', policies: {} };

/** An HTTP filter that the agent configures, as docs/envoy.md has it. */
export function rbacHttpFilter(protocol: Protocol, name = 'countersign.dev/rbac-http'): unknown {
  const type = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC';
  return { name, config_discovery: discovered(protocol, type, { '@type': type, rules: DENY_ALL }) };
}

/** A network filter that the agent configures. */
export function rbacNetworkFilter(protocol: Protocol, name = 'countersign.dev/rbac-network'): unknown {
  const type = 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC';
  return { name, config_discovery: discovered(protocol, type, { '@type': type, rules: DENY_ALL, stat_prefix: 'rbac' }) };
}

function discovered(protocol: Protocol, type: string, denying: object): unknown {
  const grpc = { envoy_grpc: { cluster_name: 'agent' } };
  return {
    config_source: {
      resource_api_version: 'V3',
      api_config_source: { api_type: protocol, transport_api_version: 'V3', grpc_services: [grpc] },
    },
    type_urls: [type],
    default_config: denying,
    apply_default_config_without_warming: true,
  };
}

/** The connection manager of docs/envoy.md: paths are normalised before filters see them. */
export const NORMAL_PATHS = {
  normalize_path: true,
  merge_slashes: true,
  path_with_escaped_slashes_action: 'REJECT_REQUEST',
};
