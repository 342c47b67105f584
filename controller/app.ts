import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Clock } from '../core/clock.ts';
import { Current } from '../core/current.ts';
import { IdentityError } from '../core/errors.ts';
import { openAdminSession, type AdminSession, type AdminTarget } from '../runtime/admin-session.ts';
import { listenHttp, type CheckResult } from '../runtime/http.ts';
import type { InClusterEnvironment } from '../runtime/kubernetes/access.ts';
import { openKubeClient, type KubeClient } from '../runtime/kubernetes/client.ts';
import { EventRecorder } from '../runtime/kubernetes/events.ts';
import { LeaderElection } from '../runtime/kubernetes/leader-election.ts';
import { createKubeMetrics, type KubeMetrics } from '../runtime/kubernetes/metrics.ts';
import type { RunningProcess } from '../runtime/lifecycle.ts';
import type { Logger } from '../runtime/log.ts';
import { createMetrics, type Registry } from '../runtime/metrics.ts';
import { createSpiffeId } from '../spiffe/spiffe-id.ts';
import { createAdmissionMetrics } from './admission/admission-metrics.ts';
import { startAdmission } from './admission/admission-server.ts';
import { CaBundleKeeper } from './admission/ca-bundle-keeper.ts';
import { createReviewers } from './admission/reviewers.ts';
import { BundlePublisher } from './bundles/bundle-publisher.ts';
import type { ControllerConfig } from './config.ts';
import { createPodLatencyHistogram, registerControllerMetrics } from './controller-metrics.ts';
import type { subjectOf } from './declared-objects.ts';
import { recordInConfigMap, recordInMemory } from './federation/owned-relationships.ts';
import { createParts, type Parts } from './parts.ts';
import { makePlan, type Plan } from './plan.ts';
import { createPodCertificateMetrics } from './pod-certificates/pod-certificate-metrics.ts';
import { PodCertificateSigner } from './pod-certificates/pod-certificate-signer.ts';
import { signSvidOver } from './pod-certificates/sign-svid.ts';
import { refText, type Problem } from './ports.ts';
import { ApiServerSource } from './sources/api-server.ts';
import { DirectorySource } from './sources/directory.ts';
import type { ResourceSource } from './sources/object-kind.ts';
import { apiServerSink, printingSink } from './status/sinks.ts';
import type { StatusSink } from './status/status-writer.ts';

/** What a controller is made from. */
export interface ControllerOptions {
  readonly config: ControllerConfig;
  readonly clock: Clock;
  readonly log: Logger;
  /** Reads resources from this folder instead of the API server, and prints statuses. */
  readonly resourcesDir?: string | undefined;
  /** Where the API server of this pod is; undefined outside a cluster. */
  readonly inCluster?: InClusterEnvironment | undefined;
  /** Where statuses go when they have no object to go into. */
  readonly write: (text: string) => void;
}

/** A controller that runs. */
export interface RunningController extends RunningProcess {
  /** Settles when the controller ends by itself: rejects with what ended it. */
  readonly ended: Promise<void>;
  /** Undefined when `listen.http` is not configured. */
  readonly httpPort: number | undefined;
  /** Settles with the port of the webhooks once they are served; undefined when they are not configured. */
  readonly webhookPort: Promise<number | undefined>;
}

/** Starts a controller. It answers health at once, and works as soon as the CA and the API server can be reached. */
export async function startController(options: ControllerOptions, signal: AbortSignal): Promise<RunningController> {
  await using resources = new AsyncDisposableStack();
  const stop = new AbortController();
  resources.defer(() => stop.abort());
  const metrics = createMetrics();
  const state = new ControllerState();
  const { http: address } = options.config.listen;
  const http = address && resources.use(await listenHttp({ address, metrics, ready: state.checks }));
  const webhook = Promise.withResolvers<number | undefined>();
  webhook.promise.catch(() => {});
  const ended = work({ ...options, metrics, state, onWebhook: webhook.resolve }, AbortSignal.any([signal, stop.signal]));
  ended.catch(webhook.reject);
  resources.defer(() => ended.catch(() => {}));
  resources.defer(() => stop.abort());
  const owned = resources.move();
  return { ended, httpPort: http?.port, webhookPort: webhook.promise, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** What a run would write; nothing is written. */
export async function planController(options: ControllerOptions, signal: AbortSignal): Promise<Plan> {
  await using resources = new AsyncDisposableStack();
  const stop = new AbortController();
  resources.defer(() => stop.abort());
  const ends = AbortSignal.any([signal, stop.signal]);
  const { parts } = await connect(
    { ...options, metrics: createMetrics(), state: new ControllerState(), onWebhook: () => {} },
    resources,
    ends,
  );
  return await makePlan(parts, ends);
}

/** How far the controller has come, for `/readyz`. */
class ControllerState {
  readonly ca = new Current<CheckResult>({ ok: false, reason: 'the CA has not been reached yet; see ca in controller.yaml' });
  readonly source = new Current<CheckResult>({ ok: false, reason: 'resources have not all been read yet' });
  readonly checks = { ca: () => this.ca.value, resources: () => this.source.value };
}

interface Assembly extends ControllerOptions {
  readonly metrics: Registry;
  readonly state: ControllerState;
  readonly onWebhook: (port: number | undefined) => void;
}

interface Connected {
  readonly parts: Parts;
  readonly session: AdminSession;
  readonly kube: Kube | undefined;
}

async function work(options: Assembly, signal: AbortSignal): Promise<void> {
  await using resources = new AsyncDisposableStack();
  try {
    const connected = await connect(options, resources, signal);
    await serveAdmission(options, connected, { resources });
    options.log.info(
      { pods: connected.parts.index.podCount, entries: connected.parts.index.entryCount },
      'controller knows its resources',
    );
    await lead(options, connected, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Reaches the CA and reads everything once. */
async function connect(options: Assembly, resources: AsyncDisposableStack, signal: AbortSignal): Promise<Connected> {
  const { config, clock, log, metrics, state, inCluster } = options;
  const kube = options.resourcesDir === undefined ? await openKube(options, { resources, signal }) : undefined;
  const ca = adminTarget(config);
  const session = resources.use(
    await openAdminSession({
      ca,
      trustDomain: config.trustDomain,
      clock,
      log: log.child({ component: 'ca' }),
      inCluster,
      signal,
    }),
  );
  const source = kube?.source ?? directorySource(options);
  const histogram = createPodLatencyHistogram(metrics);
  const parts = createParts({
    config,
    connection: session.connection,
    source,
    sink: kube?.sink ?? printingSink(options.write),
    owned: kube === undefined ? recordInMemory() : recordInConfigMap(kube.client, ownedName(config)),
    tell:
      kube?.tell ??
      ((about, problem) => options.write(`${refText({ namespace: '', ...about })}: ${problem.reason}: ${problem.message}\n`)),
    observeLatency: (seconds) => histogram.observe(seconds),
    clock,
    log: log.child({ component: 'entries' }),
  });
  const tellCa = (): void =>
    state.ca.set(outageCheck((session.outage.value ?? parts.entries.outage.value)?.message, 'the CA is reached'));
  resources.defer(session.outage.subscribe(tellCa));
  resources.defer(parts.entries.outage.subscribe(tellCa));
  tellCa();
  await source.follow(parts.kinds, signal);
  await parts.reconciliation.open();
  const tellSource = (): void => state.source.set(outageCheck(source.outage.value, 'resources are followed'));
  resources.defer(source.outage.subscribe(tellSource));
  tellSource();
  return { parts, session, kube };
}

function outageCheck(outage: string | undefined, well: string): CheckResult {
  return outage === undefined ? { ok: true, reason: well } : { ok: false, reason: outage };
}

function ownedName({ leaderElection: { namespace, name } }: ControllerConfig): {
  readonly namespace: string;
  readonly name: string;
} {
  return { namespace, name: `${name}-federation` };
}

/** Writes while this process is the one that does. */
async function lead(options: Assembly, connected: Connected, signal: AbortSignal): Promise<void> {
  const { config, clock, log, metrics } = options;
  const { parts, kube } = connected;
  const leading = new Current(false);
  registerControllerMetrics(metrics, { index: parts.index, entries: parts.entries, isLeading: () => leading.value });
  const write = async (term: AbortSignal): Promise<void> => {
    leading.set(true);
    parts.latency.start();
    log.info('this controller writes entries now');
    try {
      await Promise.all([...reconcile(parts, term), ...publish(options, connected, term)]);
    } finally {
      leading.set(false);
      parts.latency.stop();
    }
  };
  if (kube === undefined) return write(signal);
  const { namespace, name } = config.leaderElection;
  const identity = `${hostname()}-${randomUUID().slice(0, 8)}`;
  const election = {
    client: kube.client,
    namespace,
    name,
    identity,
    clock,
    log: log.child({ component: 'leader' }),
    metrics: kube.metrics,
  };
  await new LeaderElection(election).run(write, signal);
}

function reconcile({ entries, relationships, statuses, pods }: Parts, term: AbortSignal): readonly Promise<void>[] {
  return [entries.run(term), relationships.run(term), statuses.run(term), pods.run(term)];
}

/** What the leader does besides entries. */
function publish(
  { config, clock, log, metrics }: Assembly,
  { parts, session, kube }: Connected,
  term: AbortSignal,
): readonly Promise<void>[] {
  if (kube === undefined) return [];
  const { client, events } = kube;
  const works: Promise<void>[] = [];
  const signerName = config.podCertificates?.signerName ?? 'countersign.dev/svid';
  if (config.bundles !== undefined) {
    const { configMap, clusterTrustBundle } = config.bundles;
    const everywhere = { matchLabels: {}, matchExpressions: [] };
    const publishing = {
      configMap: configMap && { name: configMap.name, namespaceSelector: configMap.namespaceSelector ?? everywhere },
      clusterTrustBundle,
      signerName,
    };
    const publisher = { client, bundle: session.bundle, config: publishing, clock, log: log.child({ component: 'bundles' }) };
    works.push(new BundlePublisher(publisher).run(term));
  }
  if (config.podCertificates !== undefined) {
    const signer = new PodCertificateSigner({
      client,
      entries: parts.podEntries,
      sign: signSvidOver(session.connection),
      events,
      signerName,
      clock,
      log: log.child({ component: 'pod-certificates' }),
      metrics: podCertificateMetrics(metrics),
    });
    works.push(signer.run(term));
  }
  if (config.admission !== undefined && config.listen.webhook !== undefined) {
    const { webhookConfiguration: name } = config.admission;
    // One replica alone: two whose bundles differ for a while would undo each other's writes.
    const keeper = new CaBundleKeeper({
      client,
      bundle: session.bundle,
      name,
      clock,
      log: log.child({ component: 'admission' }),
    });
    works.push(keeper.run(term));
  }
  return works;
}

// A leader that leads a second time goes on counting.
const METRICS = new WeakMap<Registry, ReturnType<typeof createPodCertificateMetrics>>();

function podCertificateMetrics(registry: Registry): ReturnType<typeof createPodCertificateMetrics> {
  const known = METRICS.get(registry) ?? createPodCertificateMetrics(registry);
  METRICS.set(registry, known);
  return known;
}

interface Scope {
  readonly resources: AsyncDisposableStack;
  readonly signal: AbortSignal;
}

/** Every replica judges, whoever leads. */
async function serveAdmission(
  options: Assembly,
  { parts, session, kube }: Connected,
  { resources }: Pick<Scope, 'resources'>,
): Promise<void> {
  const { config, clock, log, metrics } = options;
  const { webhook: address } = config.listen;
  if (config.admission === undefined || address === undefined || kube === undefined) return options.onWebhook(undefined);
  const { settings, preview, index, federation } = parts;
  const reviewers = createReviewers({
    settings,
    preview,
    // It is served only when everything has been read.
    synced: () => true,
    holderOf: (entryKey) => index.desired(entryKey)?.declarer,
    federationOf: (trustDomain) => federation.desired(trustDomain)?.precedence,
  });
  const admissionLog = log.child({ component: 'admission' });
  const admission = resources.use(
    await startAdmission({
      address,
      credentials: session.credentials,
      reviewers,
      clock,
      log: admissionLog,
      metrics: createAdmissionMetrics(metrics),
    }),
  );
  options.onWebhook(admission.port);
}

function adminTarget({ ca, admission, trustDomain }: ControllerConfig): AdminTarget {
  if (ca.kind === 'login') return ca;
  if (admission === undefined) return ca;
  const { namespace, name } = admission.service;
  const dnsNames = [`${name}.${namespace}.svc`];
  return { ...ca, mint: { spiffeId: createSpiffeId(trustDomain, ['countersign', 'controller']), dnsNames } };
}

function directorySource({ resourcesDir, clock, log, write }: Assembly): ResourceSource {
  if (resourcesDir === undefined) throw new IdentityError('internal', 'there is no folder of resources');
  const complain = (message: string): void => {
    log.warn({ problem: message }, 'resource not usable');
    write(`${message}\n`);
  };
  return new DirectorySource({ directory: resourcesDir, clock, complain });
}

interface Kube {
  readonly client: KubeClient;
  readonly source: ResourceSource;
  readonly sink: StatusSink;
  readonly events: EventRecorder;
  readonly metrics: KubeMetrics;
  readonly tell: (about: ReturnType<typeof subjectOf>, problem: Problem) => void;
}

async function openKube(
  { config, clock, log, metrics: registry, inCluster }: Assembly,
  { resources, signal }: Scope,
): Promise<Kube> {
  const { kubeconfig, context } = config.kubernetes;
  const metrics = createKubeMetrics(registry);
  const kubeLog = log.child({ component: 'kubernetes' });
  const client = resources.use(
    await openKubeClient({
      ...(kubeconfig === undefined ? {} : { kubeconfigFile: kubeconfig }),
      ...(context === undefined ? {} : { context }),
      inCluster,
      clock,
      log: kubeLog,
      metrics,
      userAgent: 'countersign-controller',
    }),
  );
  const common = { client, clock, log: kubeLog, metrics };
  const events = new EventRecorder({ ...common, controller: 'countersign.dev/controller', instance: hostname(), signal });
  const tell = (regarding: ReturnType<typeof subjectOf>, { reason, message }: Problem): void =>
    events.record({ regarding, type: 'Warning', reason, action: 'RegisterIdentity', note: message });
  return { client, source: new ApiServerSource(common), sink: apiServerSink(client), events, metrics, tell };
}
