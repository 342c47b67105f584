import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';

import type { Clock } from '../core/clock.ts';
import { Current } from '../core/current.ts';
import type { RelationSource } from '../policy/relations/source.ts';
import { Diagnosis } from '../proto/gen/countersign/agent/v1/agent_pb.ts';
import { AccessLogService } from '../proto/gen/envoy/service/accesslog/v3/als_pb.ts';
import { Authorization as ExternalAuthorization } from '../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { ExtensionConfigDiscoveryService } from '../proto/gen/envoy/service/extension/v3/config_discovery_pb.ts';
import { SecretDiscoveryService } from '../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import { SpiffeWorkloadAPI } from '../proto/gen/spiffe/workload/workload_pb.ts';
import { Debug } from '../proto/gen/spire/api/agent/debug/v1/debug_pb.ts';
import { DelegatedIdentity } from '../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts';
import { Logger } from '../proto/gen/spire/api/agent/logger/v1/logger_pb.ts';
import { loadBootstrapBundle } from '../runtime/bootstrap-bundle.ts';
import { addHealth } from '../runtime/grpc/health.ts';
import { addReflection } from '../runtime/grpc/reflection.ts';
import { inClusterEnvironment } from '../runtime/kubernetes/access.ts';
import { lockFolder } from '../runtime/folder-lock.ts';
import { GrpcServer } from '../runtime/grpc/server.ts';
import { listenUnix } from '../runtime/grpc/unix-listener.ts';
import type { RunningProcess } from '../runtime/lifecycle.ts';
import type { Logger as Log } from '../runtime/log.ts';
import { loggerHandlers } from '../runtime/logger-handlers.ts';
import { LogLevels } from '../runtime/log-levels.ts';
import { openOpenFga } from '../runtime/openfga/relations.ts';
import { assertPeerCredentialsWork } from '../runtime/peer-credentials.ts';
import { Bundle } from '../spiffe/bundle.ts';
import { debugApi } from './api/debug.ts';
import { delegatedIdentity } from './api/delegated-identity.ts';
import { diagnosis } from './api/diagnosis.ts';
import { Observability } from './api/observability.ts';
import { workloadApi } from './api/workload-api.ts';
import { createNodeAttestor } from './attest/node-attestors.ts';
import { NodeIdentity } from './attest/node-identity.ts';
import { StateFile } from './attest/state-file.ts';
import { createAuthorizer } from './authz/authorizer.ts';
import { Bookkeeping } from './authz/bookkeeping.ts';
import type { Authorizer } from './authz/check.ts';
import type { DecidedCallObserver } from './authz/decided-call.ts';
import { Destinations } from './authz/destinations.ts';
import { EnforcedPolicy } from './authz/enforced-policy.ts';
import { LazyIssuerKeys } from './authz/lazy-issuer-keys.ts';
import { Staleness } from './authz/staleness.ts';
import { loadHashKey } from './authz/subject-hash.ts';
import { UserCheck } from './authz/user-check.ts';
import { VerifiedTokens } from './authz/verified-tokens.ts';
import { IdentityCache } from './cache/identity-cache.ts';
import { JwtSvidCache } from './cache/jwt-svid-cache.ts';
import { withdrawTainted } from './cache/tainted-keys.ts';
import { WitSvidCache } from './cache/wit-svid-cache.ts';
import type { AgentConfig } from './config.ts';
import { accessLog } from './envoy/access-log.ts';
import { extAuthz } from './envoy/ext-authz.ts';
import { extensionDiscovery } from './envoy/extension-discovery.ts';
import { serveHttpAuthorization } from './http-authz/serve.ts';
import { secretDiscovery } from './sds/secret-discovery.ts';
import { createCaIssuer } from './sync/ca-issuer.ts';
import { postStatus } from './sync/post-status.ts';
import type { SyncUpdate } from './sync/sync-target.ts';
import { Synchronizer, type SynchronizerOptions } from './sync/synchronizer.ts';
import { WorkloadAttestation, type Workload } from './workload-attest/attestation.ts';
import { createWorkloadAttestors } from './workload-attest/config.ts';

/** What an agent is made from. */
export interface AgentOptions {
  readonly config: AgentConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** The process's environment: of it come the node's name and the API server's address in a pod. Empty unless given. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** An agent that runs. Disposing of it lets calls finish, then closes everything. */
export interface RunningAgent extends RunningProcess {
  /** Rejects when the agent has lost its identity for good. */
  readonly ended: Promise<void>;
  /** Undefined when `listen.http` is not configured. */
  readonly httpPort: number | undefined;
}

// Any process of the machine may connect: who it is decides what it gets.
const PUBLIC_SOCKET_MODE = 0o777;
// Whoever may open the private socket may also be given a group for it.
const PRIVATE_SOCKET_MODE = 0o660;
const DRAIN_MS = 2_000;

/** Starts an agent: it serves at once, and answers UNAVAILABLE until it has attested and synchronised. */
export async function startAgent(given: AgentOptions, signal: AbortSignal): Promise<RunningAgent> {
  // An agent that cannot tell who is calling serves nobody.
  assertPeerCredentialsWork();
  await using resources = new AsyncDisposableStack();
  const stop = new AbortController();
  resources.defer(() => stop.abort());
  resources.use(await lockFolder(given.config.dataDir));
  const issuerRootsPem = await readIssuerRoots(given.config);
  const levels = new LogLevels(given.log);
  const hashKey = await loadHashKey(given.config.authorization.decisionLog.hashKeyFile);
  const relations = await openRelations(given, levels, resources);
  const options = { ...given, levels, issuerRootsPem, hashKey, relations };
  const parts = createParts(options, resources);
  await serveWorkloads(options, parts, resources);
  await serveProxies(options, parts, resources);
  await serveAdmins(options, parts, resources);
  const ended = work(parts, AbortSignal.any([signal, stop.signal]));
  // Whoever runs the agent awaits this; until then a rejection must not end the process by itself.
  ended.catch(() => {});
  const { http: address } = options.config.listen;
  const http = address && resources.use(await parts.observability.serve(address));
  const owned = resources.move();
  return { ended, httpPort: http?.port, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

interface Assembly extends AgentOptions {
  readonly levels: LogLevels;
  readonly issuerRootsPem: readonly string[];
  readonly hashKey: Uint8Array;
  readonly relations: RelationSource | undefined;
}

interface Parts {
  readonly node: NodeIdentity;
  readonly cache: IdentityCache;
  readonly jwtSvids: JwtSvidCache;
  readonly witSvids: WitSvidCache;
  readonly synchronizer: Synchronizer;
  readonly authorization: Authorization;
  readonly books: Bookkeeping;
  readonly attestation: WorkloadAttestation;
  readonly observability: Observability;
  readonly serving: Current<boolean>;
  readonly log: Log;
}

/** Who decides calls, and by what. */
interface Authorization {
  readonly policy: EnforcedPolicy;
  readonly staleness: Staleness;
  readonly issuerKeys: LazyIssuerKeys;
  readonly userTokens: VerifiedTokens;
  readonly authorizer: Authorizer;
  readonly users: UserCheck;
  /** Told of each call that is decided, which it tells each of `observers`. */
  readonly onDecided: DecidedCallObserver;
  readonly observers: Set<DecidedCallObserver>;
}

function createParts(options: Assembly, resources: AsyncDisposableStack): Parts {
  const { config, clock, log, levels } = options;
  const node = resources.use(createNode(options));
  const issuer = createCaIssuer(node.connection);
  const cacheLog = levels.component('cache');
  const bundle = new Bundle({ trustDomain: config.trustDomain });
  const onEntryServed = (durationMs: number): void => observability.onEntryServed(durationMs);
  const cache = resources.use(new IdentityCache({ bundle, issuer, clock, log: cacheLog, onEntryServed }));
  const jwtSvids = new JwtSvidCache({ issuer, clock, log: cacheLog });
  const witSvids = new WitSvidCache({ issuer, clock, log: cacheLog });
  resources.defer(withdrawTainted(cache.bundles, jwtSvids, witSvids));
  const serving = new Current(false);
  const authorization = createAuthorization(options, cache, resources);
  const { policy, staleness, issuerKeys, userTokens } = authorization;
  const books = resources.use(createBooks(options, node));
  for (const observer of books.observers) authorization.observers.add(observer);
  const apply = async (update: SyncUpdate): Promise<void> => {
    const next = await policy.prepare(update.policy);
    // From here on nothing waits: entries, bundles and policy change at one moment.
    policy.swap(next);
    cache.apply(update);
    node.updateBundle(cache.bundles.own);
    policy.announce();
    serving.set(cache.ready);
  };
  const synchronizer = createSynchronizer(options, node, {
    apply,
    onConnected() {
      cache.retrySigning();
      books.onConnected();
    },
    onPolicyFollowed: (isFollowed) => (isFollowed ? staleness.followed() : staleness.lost()),
  });
  const metered = [books, issuerKeys, userTokens];
  const observability = new Observability({ node, cache, jwtSvids, synchronizer, policy, staleness, metered, clock });
  const attestation = resources.use(createAttestation(options, observability));
  return { node, cache, jwtSvids, witSvids, synchronizer, authorization, books, attestation, observability, serving, log };
}

function createAuthorization(
  { config, clock, levels, issuerRootsPem: rootsPem, relations }: Assembly,
  cache: IdentityCache,
  resources: AsyncDisposableStack,
): Authorization {
  const { maxStaleness, allowPrivateHosts } = config.authorization;
  const log = levels.component('authorization');
  const policy = new EnforcedPolicy(clock, () => cache.entries());
  const staleness = resources.use(new Staleness({ clock, maxStalenessMs: maxStaleness.ms }));
  const keys = resources.use(new LazyIssuerKeys({ clock, log, allowPrivateHosts, rootsPem }));
  const observers = new Set<DecidedCallObserver>();
  const onDecided: DecidedCallObserver = (decided) => {
    for (const observe of observers) observe(decided);
  };
  const userTokens = new VerifiedTokens();
  const { verify } = userTokens;
  const parts = { identities: cache, policy, staleness, keys, verify, clock, log, onDecided };
  const authorizer = createAuthorizer({ ...parts, relations });
  const users = new UserCheck(parts);
  return { policy, staleness, issuerKeys: keys, userTokens, authorizer, users, onDecided, observers };
}

function createBooks({ config, clock, log, levels, hashKey }: Assembly, { connection }: NodeIdentity): Bookkeeping {
  const reportLog = levels.component('calls');
  return new Bookkeeping({ config: config.authorization, hashKey, connection, clock, log, reportLog });
}

async function openRelations(
  { config, clock }: AgentOptions,
  levels: LogLevels,
  resources: AsyncDisposableStack,
): Promise<RelationSource | undefined> {
  const { relations } = config.authorization;
  if (relations === undefined) return undefined;
  return resources.use(await openOpenFga(relations.openfga, { clock, log: levels.component('relations') })).relations;
}

function readIssuerRoots({ authorization }: AgentConfig): Promise<readonly string[]> {
  return Promise.all(authorization.webRootFiles.map((file) => readFile(file, 'utf8')));
}

function createAttestation(
  { config, clock, levels, environment = {} }: Assembly,
  { onAttested }: Observability,
): WorkloadAttestation {
  const log = levels.component('attestation');
  const attestors = createWorkloadAttestors(config.workloadAttestors, { clock, log, environment });
  return new WorkloadAttestation({ attestors, clock, log, observe: onAttested });
}

function createNode({ config, clock, levels, environment = {} }: Assembly): NodeIdentity {
  const { trustDomain, dataDir, server } = config;
  const log = levels.component('node');
  const bootstrapping = { trustDomain, clock, log, inCluster: inClusterEnvironment(environment) };
  return new NodeIdentity({
    trustDomain,
    server,
    attestor: createNodeAttestor(config.attestor),
    bootstrap: (signal) => loadBootstrapBundle(config.bootstrap, { ...bootstrapping, signal }),
    state: new StateFile({ dataDir, trustDomain, keepsKey: config.keys.kind === 'disk' }),
    clock,
    log,
  });
}

function createSynchronizer(
  { config, clock, levels }: Assembly,
  node: NodeIdentity,
  target: Pick<SynchronizerOptions, 'apply' | 'onConnected' | 'onPolicyFollowed'>,
): Synchronizer {
  return new Synchronizer({
    connection: node.connection,
    trustDomain: config.trustDomain,
    clock,
    log: levels.component('sync'),
    ...target,
    recover: (error, signal) => node.recover(error, signal),
  });
}

/** The agent's work in the background. */
async function work({ node, synchronizer, books, log }: Parts, signal: AbortSignal): Promise<void> {
  try {
    await node.start(signal);
    const posted = postStatus(node.connection, log, signal);
    await Promise.all([node.keepRenewed(signal), synchronizer.run(signal), books.run(signal), posted]);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function serveWorkloads(options: Assembly, parts: Parts, resources: AsyncDisposableStack): Promise<void> {
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

async function serveProxies({ config, clock, levels }: Assembly, parts: Parts, resources: AsyncDisposableStack): Promise<void> {
  if (config.listen.authz === undefined) return;
  const { path } = config.listen.authz;
  const { cache: identities, attestation, authorization } = parts;
  const log = levels.component('http-authz');
  const accept = (socket: Socket): Workload => attestation.accept(socket);
  resources.use(
    await serveHttpAuthorization({ path, mode: PUBLIC_SOCKET_MODE, accept, identities, clock, log, ...authorization }),
  );
}

async function serveAdmins(options: Assembly, parts: Parts, resources: AsyncDisposableStack): Promise<void> {
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
