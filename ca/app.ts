import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { Current } from '../core/current.ts';
import { IdentityError } from '../core/errors.ts';
import type { ListenAddress } from '../runtime/config-file.ts';
import { listenHttp, type Checks, type HttpListener } from '../runtime/http.ts';
import { lockFolder } from '../runtime/folder-lock.ts';
import type { InClusterEnvironment } from '../runtime/kubernetes/access.ts';
import type { Logger } from '../runtime/log.ts';
import { IssuerKeys } from '../runtime/oidc/issuer-keys.ts';
import { createMetrics, createRpcMetrics, type Registry as MetricsRegistry } from '../runtime/metrics.ts';
import { AgentAccess } from './api/agent-access.ts';
import { createApiServer } from './api/api-server.ts';
import { AgentStreams } from './api/agent-streams.ts';
import { Authorizer } from './api/authorizer.ts';
import { cannotListen, listenForAdmins, listenForAgents } from './api/listeners.ts';
import { RpcLimits } from './api/rpc-limits.ts';
import { addLocalServices, addSharedServices, type ApiOptions } from './api/services.ts';
import { AgentPruning } from './attest/agent-pruning.ts';
import { loadAttestors } from './attest/attestors.ts';
import { AuditLog } from './audit/audit-log.ts';
import { Authorities } from './authorities/authorities.ts';
import { createAuthorityBundle } from './authority-bundle.ts';
import { AuthorizationSettings } from './authorization-settings.ts';
import { CallRecording } from './calls/recording.ts';
import type { CaConfig } from './config.ts';
import { BundleRefresher } from './federation/refresher.ts';
import { CallPolicy } from './exchange/call-policy.ts';
import { ruleBasedPolicy } from './exchange/exchange-policy.ts';
import { listenForTokens, type TokenListener } from './exchange/token-listener.ts';
import { TokenService } from './exchange/token-service.ts';
import { openFileCredentials } from './http/file-credentials.ts';
import { ownCredentials } from './http/public-credentials.ts';
import { listenPublic } from './http/public-listener.ts';
import { Issuer } from './issue/issuer.ts';
import { AdminLogins } from './kubernetes/admin-logins.ts';
import { BundlePublisher } from './kubernetes/bundle-publisher.ts';
import { KubeClients } from './kubernetes/clusters.ts';
import { DiskKeyStore } from './keys/disk-key-store.ts';
import type { KeyStore } from './keys/key-store.ts';
import { MemoryKeyStore } from './keys/memory-key-store.ts';
import { LogLevels } from './log-levels.ts';
import { PolicyProgress } from './policies/progress.ts';
import { PolicyStatuses } from './policies/statuses.ts';
import { readinessChecks } from './readiness.ts';
import { startRegistry, type RegistryFeed } from './registry/feed.ts';
import { ServerIdentity } from './server-svid.ts';
import { registerCallMetrics, registerStateMetrics } from './state-metrics.ts';
import { openStore } from './store/open.ts';
import type { Store } from './store/store.ts';

/** What a CA is started with. */
export interface CaOptions {
  readonly config: CaConfig;
  readonly clock: Clock;
  readonly log: Logger;
  /** Where the API server of the CA's own pod is; undefined outside a cluster. */
  readonly inCluster?: InClusterEnvironment | undefined;
}

/** A CA that serves. Disposing of it drains its connections, then closes everything. */
export interface Ca extends AsyncDisposable {
  readonly grpcPort: number;
  /** Undefined when `listen.http` is not configured. */
  readonly httpPort: number | undefined;
  /** Undefined when `listen.public` is not configured. */
  readonly publicPort: number | undefined;
  /** Undefined when `listen.token` or `tokenExchange` is not configured. */
  readonly tokenPort: number | undefined;
}

const DRAIN_MS = 5_000;
// Every call checks its caller anew; the age only spreads agents over replicas again after one was away.
const MAX_CONNECTION_AGE_MS = 30 * 60_000;

/** Builds the CA and starts serving. @throws IdentityError that says what is wrong and what to do */
export async function startCa({ config, clock, log, inCluster }: CaOptions): Promise<Ca> {
  await using resources = new AsyncDisposableStack();
  const logLevels = new LogLevels(log);
  const state = await openState(resources, { config, clock, logLevels });
  const signing = await openSigning(resources, { config, clock, logLevels, state });
  const kubernetes = resources.use(new KubeClients({ inCluster, clock, log: logLevels.component('kubernetes') }));
  const api = await createApi(resources, { config, clock, logLevels, state, signing, kubernetes });
  const metrics = createMetrics();
  const ports = await listen(resources, { config, api, metrics, logLevels });
  log.info({ trustDomain: config.trustDomain.name, ...ports }, 'ca serves');
  const owned = resources.move();
  return {
    ...ports,
    [Symbol.asyncDispose]: () => {
      api.serving.set(false);
      return owned.disposeAsync();
    },
  };
}

interface Common {
  readonly config: CaConfig;
  readonly clock: Clock;
  readonly logLevels: LogLevels;
}

interface State {
  readonly store: Store;
  readonly feed: RegistryFeed;
}

async function openState(resources: AsyncDisposableStack, { config, clock, logLevels }: Common): Promise<State> {
  resources.use(await lockFolder(config.dataDir));
  const log = logLevels.component('store');
  const onOutage = (err: Error | undefined): void => {
    if (err === undefined) log.info('store feed restored');
    else log.error({ err }, 'store feed lost');
  };
  const store = resources.use(await openStore(await storeConfig(config), { clock, onOutage }));
  const refreshHintSeconds = Math.floor((config.federation.endpoint?.refreshHint.ms ?? 0) / 1000);
  const feed = resources.use(await startRegistry({ store, trustDomain: config.trustDomain, clock, refreshHintSeconds }));
  const after = config.pruneAgentsAfter;
  if (after !== undefined) resources.use(new AgentPruning({ store, registry: feed.registry, clock, log, after }));
  return { store, feed };
}

async function storeConfig({ store, dataDir }: CaConfig): Promise<Parameters<typeof openStore>[0]> {
  if (store.kind === 'sqlite') return { kind: 'sqlite', path: join(dataDir, 'store.db') };
  try {
    return { kind: 'postgres', url: (await readFile(store.urlFile, 'utf8')).trim() };
  } catch (cause) {
    throw new IdentityError('failed_precondition', `cannot read store.urlFile ${store.urlFile}; it holds the postgres:// URL`, {
      cause,
    });
  }
}

interface Signing {
  readonly audit: AuditLog;
  readonly authorities: Authorities;
  readonly issuer: Issuer;
  readonly identity: ServerIdentity;
}

async function openSigning(
  resources: AsyncDisposableStack,
  { config, clock, logLevels, state }: Common & { readonly state: State },
): Promise<Signing> {
  const { trustDomain, dataDir, ttl } = config;
  const audit = resources.use(
    await AuditLog.open({ file: join(dataDir, 'audit.jsonl'), clock, log: logLevels.component('audit') }),
  );
  const authorities = resources.use(
    await Authorities.open({
      trustDomain,
      dataDir,
      keys: await openKeys(config),
      bundle: createAuthorityBundle({ store: state.store, registry: state.feed.registry }),
      clock,
      log: logLevels.component('authorities'),
      lifetimeMs: ttl.ca.ms,
      x509KeyType: config.keys.caKeyType,
      tokenKeyType: config.keys.jwtKeyType,
      upstream: config.upstream?.disk,
      exchange: config.tokenExchange !== undefined,
    }),
  );
  const lifetimes = {
    x509SvidMs: ttl.x509Svid.ms,
    agentSvidMs: ttl.agentSvid.ms,
    jwtSvidMs: ttl.jwtSvid.ms,
    witSvidMs: ttl.witSvid.ms,
    caMs: ttl.ca.ms,
  };
  const issuer = resources.use(
    new Issuer({
      trustDomain,
      authorities,
      audit,
      clock,
      ttl: lifetimes,
      jwtIssuer: config.jwtIssuer,
      log: logLevels.component('issuer'),
    }),
  );
  const identity = resources.use(
    await ServerIdentity.start({ issuer, clock, log: logLevels.component('server-svid'), taints: authorities.taintedX509 }),
  );
  return { audit, authorities, issuer, identity };
}

function openKeys({ keys, dataDir }: CaConfig): KeyStore | Promise<KeyStore> {
  return keys.kind === 'disk' ? DiskKeyStore.open(join(dataDir, 'keys')) : new MemoryKeyStore();
}

type Api = Omit<ApiOptions, 'serving'> & { readonly serving: Current<boolean> };

interface ApiParts {
  readonly state: State;
  readonly signing: Signing;
  readonly kubernetes: KubeClients;
}

async function createApi(
  resources: AsyncDisposableStack,
  { config, clock, logLevels, state, signing, kubernetes }: Common & ApiParts,
): Promise<Api> {
  const { trustDomain } = config;
  const { registry } = state.feed;
  const log = logLevels.component('api');
  const agents = new AgentAccess({ registry, store: state.store, clock, log });
  const logins = new AdminLogins(trustDomain, await kubernetes.clusters(config.adminLogin?.clusters));
  const bundleConfigMap = await publishBundle(resources, { config, clock, logLevels, state, kubernetes });
  return {
    trustDomain,
    clock,
    log,
    store: state.store,
    registry,
    ...openAuthorization(resources, { config, clock, logLevels, state }),
    issuer: signing.issuer,
    authorities: signing.authorities,
    x509SvidTtlSeconds: Math.floor(config.ttl.x509Svid.ms / 1000),
    logins,
    authorizer: new Authorizer({ trustDomain, admins: config.admins, logins, registry, agents, clock }),
    limits: new RpcLimits(clock, config.rateLimits),
    attestors: await loadAttestors({ config: config.attestors, trustDomain, store: state.store, clock, kubernetes }),
    refresher: resources.use(await createRefresher({ config, clock, logLevels, state })),
    svid: signing.identity.svid,
    logLevels,
    streams: new AgentStreams(clock),
    checks: readinessChecks({ ...state, ...signing, bundleConfigMap }),
    serving: new Current(true),
    reflection: config.reflection,
  };
}

type AuthorizationParts = Pick<ApiOptions, 'settings' | 'recording' | 'policyProgress' | 'policyStatuses'>;

function openAuthorization(resources: AsyncDisposableStack, parts: Common & { readonly state: State }): AuthorizationParts {
  const { clock, state, logLevels, config } = parts;
  const log = logLevels.component('policies');
  const { registry } = state.feed;
  const recording = resources.use(openRecording(parts));
  const policyProgress = resources.use(new PolicyProgress({ store: state.store, registry, clock, log }));
  const statuses = new PolicyStatuses({ registry, progress: policyProgress, counts: recording.counts, clock, log });
  return {
    settings: new AuthorizationSettings(config, registry),
    recording,
    policyProgress,
    policyStatuses: resources.use(statuses),
  };
}

function openRecording({ config, clock, logLevels, state }: Common & { readonly state: State }): CallRecording {
  const { registry } = state.feed;
  return new CallRecording({
    store: state.store.calls,
    documents: registry.policies,
    metadataOf: (spiffeId) => registry.workloads.get(spiffeId)?.metadata,
    defaultAction: config.authorization.default,
    keepMs: config.authorization.calls.keep.ms,
    clock,
    log: logLevels.component('calls'),
  });
}

async function publishBundle(
  resources: AsyncDisposableStack,
  { config, clock, logLevels, state, kubernetes }: Common & Omit<ApiParts, 'signing'>,
): Promise<BundlePublisher | undefined> {
  const target = config.kubernetes?.bundleConfigMap;
  if (target === undefined) return undefined;
  const client = await kubernetes.open(target.kubeconfigFile);
  const log = logLevels.component('kubernetes');
  return resources.use(new BundlePublisher({ client, target, feed: state.feed, clock, log }));
}

async function createRefresher({ config, clock, logLevels, state }: Common & { state: State }): Promise<BundleRefresher> {
  const { allowPrivateHosts, webRootFiles } = config.federation;
  const roots = await Promise.all(webRootFiles.map((file) => readFile(file, 'utf8')));
  return new BundleRefresher({
    store: state.store,
    registry: state.feed.registry,
    clock,
    log: logLevels.component('federation'),
    allowPrivateHosts,
    ...(roots.length === 0 ? {} : { webRootsPem: roots }),
  });
}

interface Listening {
  readonly config: CaConfig;
  readonly api: Api;
  readonly metrics: MetricsRegistry;
  readonly logLevels: LogLevels;
}

async function listen(resources: AsyncDisposableStack, listening: Listening): Promise<Omit<Ca, symbol>> {
  const { config, api, metrics } = listening;
  const rpcMetrics = createRpcMetrics(metrics);
  registerStateMetrics(metrics, api.registry);
  registerCallMetrics(metrics, api.recording);
  const remote = createApiServer({ ...api, rpcMetrics, maxAgeMs: MAX_CONNECTION_AGE_MS });
  const local = createApiServer({ ...api, rpcMetrics, maxAgeMs: 0 });
  resources.defer(async () => {
    await Promise.all([remote, local].map((server) => server.close({ graceMs: DRAIN_MS })));
  });
  addSharedServices(remote, api);
  addSharedServices(local, api);
  addLocalServices(local, api);
  const http = config.listen.http && resources.use(await listenForProbes(config.listen.http, { checks: api.checks, metrics }));
  resources.use(await listenForAdmins(local, { path: config.listen.admin.path, log: api.log }));
  const agents = resources.use(await listenForAgents(remote, { address: config.listen.grpc, svid: api.svid, log: api.log }));
  const open = config.listen.public && (await listenForEverybody(resources, config.listen.public, { config, api }));
  const tokens = await listenForExchange(resources, listening);
  return { grpcPort: agents.port, httpPort: http?.port, publicPort: open?.port, tokenPort: tokens?.port };
}

async function listenForExchange(
  resources: AsyncDisposableStack,
  { config, api, metrics, logLevels }: Listening,
): Promise<TokenListener | undefined> {
  const { tokenExchange, rateLimits } = config;
  const address = config.listen.token;
  if (tokenExchange === undefined || address === undefined) return undefined;
  const { issuer, tls, rules, allowPrivateHosts, webRootFiles } = tokenExchange;
  const { clock, registry, trustDomain } = api;
  const log = logLevels.component('token-exchange');
  const rootsPem = await Promise.all(webRootFiles.map((file) => readFile(file, 'utf8')));
  const issuerKeys = resources.use(new IssuerKeys({ clock, log, allowPrivateHosts, rootsPem, metrics }));
  const { policies } = api.recording;
  const service = new TokenService({
    config: tokenExchange,
    policy: ruleBasedPolicy(rules),
    calls: new CallPolicy({ policies, metadataOf: (spiffeId) => registry.workloads.get(spiffeId)?.metadata }),
    trustDomain,
    registry,
    issuerKeys,
    issuer: api.issuer,
    clock,
  });
  const credentials =
    tls === undefined
      ? ownCredentials(api.svid)
      : resources.use(await openFileCredentials(tls, { clock, log, name: 'tokenExchange.tls' }));
  const perSecond = rateLimits.signing;
  return resources.use(
    await listenForTokens({ address, credentials, issuer, service, registry, clock, log, perSecond, metrics }),
  );
}

async function listenForEverybody(
  resources: AsyncDisposableStack,
  address: NonNullable<CaConfig['listen']['public']>,
  { config, api }: Pick<Listening, 'config' | 'api'>,
): ReturnType<typeof listenPublic> {
  const { publicTls, federation, jwtIssuer } = config;
  const credentials =
    publicTls === undefined ? ownCredentials(api.svid) : resources.use(await openFileCredentials(publicTls, api));
  const bundleEndpoint = federation.endpoint !== undefined;
  const options = { address, credentials, bundle: api.registry.bundle, bundleEndpoint, jwtIssuer };
  return resources.use(await listenPublic(options));
}

function listenForProbes(
  address: ListenAddress,
  { checks, metrics }: { readonly checks: Checks; readonly metrics: MetricsRegistry },
): Promise<HttpListener> {
  return listenHttp({ address, ready: checks, metrics }).catch((cause: unknown) => {
    throw cannotListen('listen.http', address, cause);
  });
}
