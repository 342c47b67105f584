// What an Envoy with authorization needs: an agent's socket with SDS, ext_authz and access logs, and an upstream behind it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Authorizer } from '../../agent/authz/check.ts';
import type { DecidedCall } from '../../agent/authz/decided-call.ts';
import { SelectorSet } from '../../agent/cache/selectors.ts';
import { accessLog, type AccessLogOptions } from '../../agent/envoy/access-log.ts';
import { extAuthz } from '../../agent/envoy/ext-authz.ts';
import { secretDiscovery } from '../../agent/sds/secret-discovery.ts';
import type { Workload } from '../../agent/workload-attest/attestation.ts';
import { systemClock } from '../../core/clock.ts';
import { AccessLogService } from '../../proto/gen/envoy/service/accesslog/v3/als_pb.ts';
import { Authorization } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { SecretDiscoveryService } from '../../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import { GrpcServer } from '../../runtime/grpc/server.ts';
import { listenUnix } from '../../runtime/grpc/unix-listener.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { EnvoyFilters, EnvoyOptions } from './envoy.ts';
import type { ClientCertificate } from './raw-http.ts';
import { DEFAULT_SDS } from './sds-rig.ts';
import { StandInIdentities, testIdentity } from './stand-in-identities.ts';
import type { TestCa } from './test-ca.ts';

/** A served socket; dispose of it. */
export interface EnvoyAuthzRig extends AsyncDisposable {
  readonly path: string;
  /** As what proxies are attested. */
  asking: SelectorSet;
  /** What was told to who keeps book, beside what the authorizer itself tells. */
  readonly decided: DecidedCall[];
  /** Stops serving, as if the agent were gone. */
  stop(): Promise<void>;
}

/** What a rig may be told. */
export interface EnvoyRigOptions {
  readonly federatedBundles?: ReadonlyMap<string, Bundle>;
  /** What access logs are read by; they are not served without it. */
  readonly inForce?: AccessLogOptions['inForce'];
}

/** Serves SDS, ext_authz and access logs for proxies that are `/orders` of the CA's trust domain. */
export async function serveEnvoy(
  ca: TestCa,
  authorizer: Authorizer,
  { federatedBundles = new Map(), inForce }: EnvoyRigOptions = {},
): Promise<EnvoyAuthzRig> {
  const folder = await mkdtemp(join(tmpdir(), 'authz-'));
  const path = join(folder, 's');
  const decided: DecidedCall[] = [];
  const onDecided = (call: DecidedCall): void => void decided.push(call);
  const identities = new StandInIdentities(ca, [testIdentity(ca, '/orders')]);
  identities.change({ federatedBundles });
  const server = new GrpcServer<Workload>({ clock: systemClock });
  server.addService(
    SecretDiscoveryService,
    secretDiscovery({ cache: identities, config: DEFAULT_SDS, log: pino({ level: 'silent' }) }),
    {
      standing: ['streamSecrets', 'deltaSecrets'],
    },
  );
  server.addService(Authorization, extAuthz({ authorizer, clock: systemClock, onDecided }));
  if (inForce !== undefined) server.addService(AccessLogService, accessLog({ inForce, clock: systemClock, onDecided }));
  const listener = await listenUnix(server, path, { mode: 0o600, onAccept: () => proxyOf(() => rig.asking) });
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= listener.close().then(() => server.close({ graceMs: 0 })));
  const rig: EnvoyAuthzRig = {
    path,
    asking: SelectorSet.of([{ type: 'unix', value: 'uid:0' }]),
    decided,
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(folder, { recursive: true });
    },
  };
  return rig;
}

function proxyOf(attest: () => SelectorSet): Workload {
  const inspect = (): never => {
    throw new Error('not inspected');
  };
  return { pid: process.pid, attest, inspect, [Symbol.dispose]: () => {} };
}

/** The ext_authz HTTP filter as docs/envoy.md has it. */
export function httpFilter(more: Readonly<Record<string, unknown>> = {}): unknown {
  return {
    name: 'envoy.filters.http.ext_authz',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz',
      transport_api_version: 'V3',
      grpc_service: { envoy_grpc: { cluster_name: 'agent' }, timeout: '1s' },
      failure_mode_allow: false,
      encode_raw_headers: true,
      ...more,
    },
  };
}

/** The ext_authz network filter. */
export function networkFilter(more: Readonly<Record<string, unknown>> = {}): unknown {
  return {
    name: 'envoy.filters.network.ext_authz',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz',
      transport_api_version: 'V3',
      stat_prefix: 'authz',
      grpc_service: { envoy_grpc: { cluster_name: 'agent' }, timeout: '1s' },
      failure_mode_allow: false,
      ...more,
    },
  };
}

/** An Envoy that takes mTLS, asks the rig and goes on in plain text. */
export function envoyOptions(binary: string, rig: EnvoyAuthzRig, filters: EnvoyFilters): EnvoyOptions {
  const downstream = { certificate: 'default', validation: 'ALL' };
  return { binary, sdsSocket: rig.path, protocol: 'GRPC', downstream, filters };
}

/** A client's certificate for a path of the CA's trust domain. */
export function clientOf(ca: TestCa, path: string): ClientCertificate {
  const { chainPem, keyPem } = ca.issueX509Svid(path);
  return { cert: chainPem, key: keyPem };
}

/** A listener whose connections begin with the header of the PROXY protocol, so that a test says where they come from. */
export const PROXY_PROTOCOL = {
  listener_filters: [
    {
      name: 'envoy.filters.listener.proxy_protocol',
      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol' },
    },
  ],
};

/** What docs/envoy.md says of paths, but that Envoy leaves two slashes as they are: what the agent decides about is what goes on. */
export const RAW_PATHS = {
  normalize_path: false,
  merge_slashes: false,
  path_with_escaped_slashes_action: 'KEEP_UNCHANGED',
};

/** Access loggers as docs/envoy.md has them, with a shorter wait. */
export function accessLogger(kind: 'HttpGrpc' | 'TcpGrpc', destination = 'spiffe://example.org/orders'): unknown {
  return {
    name: 'envoy.access_loggers.grpc',
    typed_config: {
      '@type': `type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.${kind}AccessLogConfig`,
      common_config: {
        log_name: 'countersign',
        transport_api_version: 'V3',
        buffer_flush_interval: '0.05s',
        grpc_service: { envoy_grpc: { cluster_name: 'agent' } },
        custom_tags: [{ tag: 'countersign.dev/destination', literal: { value: destination } }],
      },
      ...(kind === 'HttpGrpc' ? { additional_request_headers_to_log: [':method', 'content-type'] } : {}),
    },
  };
}
