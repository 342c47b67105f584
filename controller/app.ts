import { openAdminSession, type AdminSession, type AdminTarget } from '../runtime/admin-session.ts';
import { listenHttp, type CheckResult } from '../runtime/http.ts';
import type { RunningProcess } from '../runtime/lifecycle.ts';
import { createMetrics } from '../runtime/metrics.ts';
import { createSpiffeId } from '../spiffe/spiffe-id.ts';
import { CA_NOT_REACHED, ControllerState, NOT_READ, NOTHING_HELD, type Assembly, type ControllerOptions } from './assembly.ts';
import type { ControllerConfig } from './config.ts';
import type { Connected } from './connected.ts';
import { createControllerMetrics } from './controller-metrics.ts';
import { lead } from './leader.ts';
import { createParts, type Parts } from './parts.ts';
import { makePlan, type Plan } from './plan.ts';
import { openCluster, openFolder, type Surroundings } from './surroundings.ts';
import { serveWebhooks } from './webhooks.ts';
import { withinTime, type TimeLimit } from './within-time.ts';

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
  const registry = createMetrics();
  const assembly = { ...options, metrics: createControllerMetrics(registry), state: new ControllerState() };
  const { http: address } = options.config.listen;
  const http = address && resources.use(await listenHttp({ address, metrics: registry, ready: assembly.state.checks }));
  const webhook = Promise.withResolvers<number | undefined>();
  webhook.promise.catch(() => {});
  const ended = work(assembly, { onWebhook: webhook.resolve, signal: AbortSignal.any([signal, stop.signal]) });
  ended.catch(webhook.reject);
  resources.defer(() => ended.catch(() => {}));
  resources.defer(() => stop.abort());
  const owned = resources.move();
  return { ended, httpPort: http?.port, webhookPort: webhook.promise, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** A plan has somebody who waits for it. */
export interface PlanOptions extends ControllerOptions, Pick<TimeLimit, 'timeoutMs' | 'tell'> {}

/**
 * What a run would write; nothing is written.
 *
 * @throws IdentityError `deadline_exceeded` when the CA or the API server is away for longer than `timeoutMs`
 */
export function planController(options: PlanOptions, signal: AbortSignal): Promise<Plan> {
  const state = new ControllerState();
  const assembly = { ...options, metrics: createControllerMetrics(createMetrics()), state };
  return withinTime((ends) => plan(assembly, ends), { ...options, waitingFor: () => state.waitingFor, signal });
}

async function plan(assembly: Assembly, signal: AbortSignal): Promise<Plan> {
  await using resources = new AsyncDisposableStack();
  const stop = new AbortController();
  resources.defer(() => stop.abort());
  const ends = AbortSignal.any([signal, stop.signal]);
  const { parts } = await connect(assembly, { resources, signal: ends });
  return await makePlan(parts, ends);
}

interface Working {
  readonly onWebhook: (port: number | undefined) => void;
  readonly signal: AbortSignal;
}

async function work(options: Assembly, { onWebhook, signal }: Working): Promise<void> {
  await using resources = new AsyncDisposableStack();
  try {
    const connected = await connect(options, { resources, signal });
    const webhookPort = await serveWebhooks(options, connected, resources);
    const served = webhookPort === undefined ? 'no webhooks are configured' : 'webhooks are served';
    options.state.webhooks.set({ ok: true, reason: served });
    onWebhook(webhookPort);
    const { podCount: pods, entryCount: entries } = connected.parts.index;
    options.log.info({ pods, entries }, 'controller knows its resources');
    await lead(options, connected, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

interface Scope {
  readonly resources: AsyncDisposableStack;
  readonly signal: AbortSignal;
}

/** Reaches the CA and reads everything once. */
async function connect(options: Assembly, scope: Scope): Promise<Connected> {
  const { resourcesDir } = options;
  const surroundings = resourcesDir === undefined ? await openCluster(options, scope) : openFolder(resourcesDir, options);
  const session = await openSession(options, scope);
  const parts = partsOf(options, { surroundings, session });
  tellCa(options.state, { session, parts, resources: scope.resources });
  const onRead = tellSource(options.state, { surroundings, resources: scope.resources });
  await surroundings.source.follow(parts.kinds, scope.signal);
  await parts.reconciliation.open();
  onRead();
  return { parts, session, cluster: surroundings.cluster };
}

async function openSession(
  { config, clock, log, inCluster, state }: Assembly,
  { resources, signal }: Scope,
): Promise<AdminSession> {
  const session = await openAdminSession({
    ca: adminTarget(config),
    trustDomain: config.trustDomain,
    clock,
    log: log.child({ component: 'ca' }),
    inCluster,
    signal,
    onOutage: ({ message }) => state.ca.set({ ok: false, reason: `${CA_NOT_REACHED}: ${message}` }),
  });
  return resources.use(session);
}

function adminTarget({ ca, admission, trustDomain }: ControllerConfig): AdminTarget {
  if (ca.kind === 'login') return ca;
  if (admission === undefined) return ca;
  const { namespace, name } = admission.service;
  const dnsNames = [`${name}.${namespace}.svc`];
  return { ...ca, mint: { spiffeId: createSpiffeId(trustDomain, ['countersign', 'controller']), dnsNames } };
}

function partsOf(
  { config, clock, log, metrics }: Assembly,
  { surroundings, session }: { readonly surroundings: Surroundings; readonly session: AdminSession },
): Parts {
  return createParts({
    ...surroundings,
    config,
    connection: session.connection,
    isCountersign: session.isCountersign,
    observeLatency: (seconds) => metrics.podLatency.observe(seconds),
    clock,
    log: log.child({ component: 'entries' }),
  });
}

interface TellingCa {
  readonly session: AdminSession;
  readonly parts: Parts;
  readonly resources: AsyncDisposableStack;
}

function tellCa(state: ControllerState, { session, parts, resources }: TellingCa): void {
  const tell = (): void =>
    state.ca.set(outageCheck((session.outage.value ?? parts.entries.outage.value)?.message, 'the CA is reached'));
  resources.defer(session.outage.subscribe(tell));
  resources.defer(parts.entries.outage.subscribe(tell));
  tell();
  const held = [parts.entries.held.problem, parts.policies.reconciler.held.problem];
  const tellHeld = (): void => {
    const problems = held.flatMap(({ value }) => value ?? []);
    state.deletions.set({ ok: true, reason: problems.length === 0 ? NOTHING_HELD : `degraded: ${problems.join('; ')}` });
  };
  for (const each of held) resources.defer(each.subscribe(tellHeld));
}

interface TellingSource {
  readonly surroundings: Surroundings;
  readonly resources: AsyncDisposableStack;
}

/** @returns what is to be called when everything has been read once */
function tellSource(state: ControllerState, { surroundings: { source }, resources }: TellingSource): () => void {
  let isRead = false;
  const tell = (): void => {
    const { value: reason } = source.outage;
    if (isRead) state.source.set(outageCheck(reason, 'resources are followed'));
    else state.source.set({ ok: false, reason: reason === undefined ? NOT_READ : `${NOT_READ}: ${reason}` });
  };
  resources.defer(source.outage.subscribe(tell));
  return () => {
    isRead = true;
    tell();
  };
}

function outageCheck(outage: string | undefined, well: string): CheckResult {
  return outage === undefined ? { ok: true, reason: well } : { ok: false, reason: outage };
}
