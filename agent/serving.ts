import type { Socket } from 'node:net';
import { Diagnosis } from '../proto/gen/countersign/agent/v1/agent_pb.ts';
import { AccessLogService } from '../proto/gen/envoy/service/accesslog/v3/als_pb.ts';
import { Authorization as ExternalAuthorization } from '../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { ExtensionConfigDiscoveryService } from '../proto/gen/envoy/service/extension/v3/config_discovery_pb.ts';
import { SecretDiscoveryService } from '../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import { SpiffeWorkloadAPI } from '../proto/gen/spiffe/workload/workload_pb.ts';
import { Debug } from '../proto/gen/spire/api/agent/debug/v1/debug_pb.ts';
import { DelegatedIdentity } from '../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts';
import { Logger } from '../proto/gen/spire/api/agent/logger/v1/logger_pb.ts';
import { addHealth } from '../runtime/grpc/health.ts';
import { addReflection } from '../runtime/grpc/reflection.ts';
import { GrpcServer } from '../runtime/grpc/server.ts';
import { listenUnix } from '../runtime/grpc/unix-listener.ts';
import { loggerHandlers } from '../runtime/logger-handlers.ts';
import { debugApi } from './api/debug.ts';
import { delegatedIdentity } from './api/delegated-identity.ts';
import { diagnosis } from './api/diagnosis.ts';
import { workloadApi } from './api/workload-api.ts';
import type { AgentOptions, Assembly } from './assembly.ts';
import { Destinations } from './authz/destinations.ts';
import { accessLog } from './envoy/access-log.ts';
import { extAuthz } from './envoy/ext-authz.ts';
import { extensionDiscovery } from './envoy/extension-discovery.ts';
import { serveHttpAuthorization } from './http-authz/serve.ts';
import type { Parts } from './parts.ts';
import { secretDiscovery } from './sds/secret-discovery.ts';
import type { Workload } from './workload-attest/attestation.ts';

// Any process of the machine may connect: who it is decides what it gets.
const PUBLIC_SOCKET_MODE = 0o777;
// Whoever may open the private socket may also be given a group for it.
const PRIVATE_SOCKET_MODE = 0o660;
const DRAIN_MS = 2_000;

/** Serves workloads and their proxies on `listen.workload`. */
export async function serveWorkloads(options: Assembly, parts: Parts, resources: AsyncDisposableStack): Promise<void> {
  const { config, clock, log, levels } = options;
  const { cache, jwtSvids, witSvids, authorization } = parts;
  const { authorizer, onDecided } = authorization;
  const inForce = { ...authorization, destinations: new Destinations(cache) };
  const server = createServer(options, parts, resources);
  server.addService(SpiffeWorkloadAPI, workloadApi({ cache, jwtSvids, witSvids, clock }));
  const sdsLog = levels.component('sds');
  server.addService(SecretDiscoveryService, secretDiscovery({ cache, config: config.sds, log: sdsLog, inForce }), {
    standing: ['streamSecrets', 'deltaSecrets'],
  });
  server.addService(ExtensionConfigDiscoveryService, extensionDiscovery({ cache, inForce, log: levels.component('ecds') }), {
    standing: ['streamExtensionConfigs', 'deltaExtensionConfigs'],
  });
  server.addService(ExternalAuthorization, extAuthz({ authorizer, clock, onDecided }));
  server.addService(AccessLogService, accessLog({ inForce, clock, onDecided }), { standing: ['streamAccessLogs'] });
  await listen(server, { parts, resources, path: config.listen.workload.path, mode: PUBLIC_SOCKET_MODE });
  log.info({ path: config.listen.workload.path }, 'workload api is served');
}

/** Serves the HTTP enforcement point on `listen.authz`, where it is configured. */
export async function serveProxies(
  { config, clock, levels }: Assembly,
  parts: Parts,
  resources: AsyncDisposableStack,
): Promise<void> {
  if (config.listen.authz === undefined) return;
  const { path } = config.listen.authz;
  const { cache: identities, attestation, authorization } = parts;
  const log = levels.component('http-authz');
  const accept = (socket: Socket): Workload => attestation.accept(socket);
  resources.use(
    await serveHttpAuthorization({ path, mode: PUBLIC_SOCKET_MODE, accept, identities, clock, log, ...authorization }),
  );
}

/** Serves administrators and delegates on `listen.admin`, where it is configured. */
export async function serveAdmins(options: Assembly, parts: Parts, resources: AsyncDisposableStack): Promise<void> {
  const { clock, config, levels } = options;
  if (config.listen.admin === undefined) return;
  const { node, cache, jwtSvids, synchronizer, attestation } = parts;
  const { authorizedDelegates } = config;
  const server = createServer(options, parts, resources);
  server.addService(DelegatedIdentity, delegatedIdentity({ cache, jwtSvids, attestation, authorizedDelegates }));
  server.addService(Debug, debugApi({ node, cache, jwtSvids, synchronizer, clock }));
  server.addService(Logger, loggerHandlers(levels));
  server.addService(Diagnosis, diagnosis({ cache, attestation }));
  await listen(server, { parts, resources, path: config.listen.admin.path, mode: PRIVATE_SOCKET_MODE });
}

function createServer(
  { clock, log }: AgentOptions,
  { observability }: Parts,
  resources: AsyncDisposableStack,
): GrpcServer<Workload> {
  const server = new GrpcServer<Workload>({
    clock,
    onCallEnd: (end) => {
      observability.onCallEnd(end);
      const { method, code, durationMs, peer } = end;
      if (log.isLevelEnabled('debug')) log.debug({ method, code, durationMs, pid: peer.pid }, 'rpc ended');
    },
    onError: (err, method) => log.error({ err, method }, 'rpc failed'),
  });
  resources.defer(() => server.close({ graceMs: DRAIN_MS }));
  return server;
}

interface Listening {
  readonly parts: Parts;
  readonly resources: AsyncDisposableStack;
  readonly path: string;
  readonly mode: number;
}

async function listen(server: GrpcServer<Workload>, { parts, resources, path, mode }: Listening): Promise<void> {
  const { attestation, serving, log } = parts;
  addHealth(server, serving);
  addReflection(server);
  const onRefused = (err: unknown): void => log.debug({ err, path }, 'connection refused');
  resources.use(await listenUnix(server, path, { mode, onRefused, onAccept: (socket) => attestation.accept(socket) }));
}
