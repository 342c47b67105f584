import type { Clock } from '../core/clock.ts';
import type { Source } from '../core/current.ts';
import type { IdentityError } from '../core/errors.ts';
import type { GrpcConnection } from '../runtime/grpc-client.ts';
import type { Logger } from '../runtime/log.ts';
import type { ControllerConfig } from './config.ts';
import { DeclaredObjects, subjectOf, type DeclaredObject } from './declared-objects.ts';
import { EntryClient } from './entries/entry-client.ts';
import type { Desired } from './entries/entry-changes.ts';
import { EntryReconciler } from './entries/entry-reconciler.ts';
import { FederationClient } from './federation/federation-client.ts';
import { FederationIndex } from './federation/federation-index.ts';
import { FederationReconciler, type OwnedRelationships } from './federation/federation-reconciler.ts';
import { feedKinds } from './feed.ts';
import { declarationKey } from './identity/declaration-store.ts';
import { IdentityIndex } from './identity/identity-index.ts';
import { KeptParts } from './identity/kept-parts.ts';
import { Preview } from './identity/preview.ts';
import type { IdentitySettings } from './identity/settings.ts';
import { EVERYTHING } from './identity/trim.ts';
import { namespacePathOf } from './namespace-paths.ts';
import { PodLatency } from './pod-latency.ts';
import type { JsonObject, PodEntries, PodRecord, ObjectRef, Problem } from './ports.ts';
import { createPolicyParts, type PolicyParts } from './policies/policy-parts.ts';
import { Reconciliation } from './reconciliation.ts';
import type { ObjectKind, ResourceSource } from './sources/object-kind.ts';
import { nodeRecord, podRecord } from './sources/records.ts';
import { lastingOutage } from './status/lasting-outage.ts';
import { PodProblems } from './status/pod-problems.ts';
import { statusOf } from './status/status-of.ts';
import { StatusWriter, type StatusSink } from './status/status-writer.ts';
import { NODES, PODS } from '../runtime/kubernetes/resource-types.ts';

/** What the controller's parts are made from. */
export interface PartsOptions {
  readonly config: ControllerConfig;
  readonly connection: Pick<GrpcConnection, 'client'>;
  /** Whether the CA is one of ours. */
  readonly isCountersign: boolean;
  readonly source: ResourceSource;
  readonly sink: StatusSink;
  /** Whether objects come from where no webhook is asked about them. */
  readonly isUnreviewed: boolean;
  readonly owned: OwnedRelationships;
  /** Tells whoever looks at an object what is wrong with it. */
  readonly tell: (about: ReturnType<typeof subjectOf>, problem: Problem) => void;
  readonly observeLatency: (seconds: number) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The parts that work together, whichever source and sink they have. */
export interface Parts {
  readonly settings: IdentitySettings;
  readonly index: IdentityIndex;
  readonly declared: DeclaredObjects;
  readonly entries: EntryReconciler;
  readonly relationships: FederationReconciler;
  readonly federation: FederationIndex;
  readonly statuses: StatusWriter;
  readonly pods: PodProblems;
  readonly latency: PodLatency;
  readonly reconciliation: Reconciliation;
  readonly policies: PolicyParts;
  readonly kinds: readonly ObjectKind[];
  readonly preview: Preview;
  readonly podEntries: PodEntries;
}

/** Makes the parts and connects them. */
export function createParts(options: PartsOptions): Parts {
  const { config, clock, log, source } = options;
  const settings = identitySettings(config, options);
  const index = new IdentityIndex(settings);
  const federation = new FederationIndex(config.trustDomain);
  const declared = new DeclaredObjects();
  const latency = new PodLatency(clock, options.observeLatency);
  const onFailures = (ref: ObjectRef): void => statuses.mark(declarationKey(ref));
  const onRefused = (desired: Desired, problem: Problem): void =>
    tellRefused(desired, problem, { declared, index, tell: options.tell });
  const entries = createEntries(options, { index, latency, onFailures, onRefused });
  const relationships = createRelationships(options, federation, {
    onChanged: (trustDomain) => federation.declarersOf(trustDomain).forEach((key) => statuses.mark(key)),
    onFederated: () => entries.retryFailures(),
  });
  const now = (): string => `${new Date(clock.nowMs()).toISOString().slice(0, 19)}Z`;
  const isBusy = (): boolean => entries.queueLength > 0 || !entries.settled.value;
  const isCounting = (): boolean => reconciliation.isSettling;
  const lasting = lastingOutage(entries.outage, clock);
  // What was declared during an outage says so at once; what is in force need not hear of a short one.
  const outage = (): IdentityError | undefined => lasting.value ?? (isBusy() ? entries.outage.value : undefined);
  const statusInputs = { index, entries, outage, federation, relationships, now };
  const statusOfOne = (object: DeclaredObject): JsonObject | undefined => statusOf(object, statusInputs);
  const statuses = new StatusWriter({ statusOf: statusOfOne, declared, sink: options.sink, clock, log, isBusy, isCounting });
  const tellPod = (pod: ObjectRef, problem: Problem): void => options.tell(subjectOf({ type: PODS, ref: pod }), problem);
  const pods = new PodProblems({ index, clock, tell: tellPod });
  const kept = new KeptParts(() => index.needs);
  const reconciliation = new Reconciliation({ index, kept, entries, statuses, pods, source, latency, clock });
  followChanges({ declared, federation, relationships, entries, statuses, lasting });
  const policies = createPolicyParts({ ...options, now });
  const { onEvent } = reconciliation;
  const { namespaces } = policies;
  const identityKinds = feedKinds({ index, federation, declared, settings, kept, onEvent, latency, namespaces });
  const preview = new Preview({ index, settings, clock, readWhole: (pod) => readWhole(source, pod) });
  const podEntries = podEntriesOf(index, entries);
  return {
    settings,
    index,
    declared,
    entries,
    relationships,
    federation,
    statuses,
    pods,
    latency,
    reconciliation,
    kinds: [...policies.kinds, ...identityKinds],
    policies,
    preview,
    podEntries,
  };
}

/** Has relationships and statuses looked at again when something that they depend on changed. */
function followChanges({ declared, federation, relationships, entries, statuses, lasting }: Marking): void {
  declared.onChanged((key) => statuses.mark(key));
  federation.onChanged((trustDomain) => {
    relationships.enqueue();
    federation.declarersOf(trustDomain).forEach((key) => statuses.mark(key));
  });
  lasting.subscribe(() => statuses.markAll());
  entries.settled.subscribe(() => statuses.markAll());
  entries.outage.subscribe((error) => {
    if (error === undefined) statuses.markAll();
  });
}

interface Marking extends Pick<Parts, 'declared' | 'federation' | 'relationships' | 'entries' | 'statuses'> {
  readonly lasting: Source<IdentityError | undefined>;
}

/** What the configuration says about identities. */
export function identitySettings(
  config: ControllerConfig,
  { isCountersign }: Pick<PartsOptions, 'isCountersign'>,
): IdentitySettings {
  const { workloadIdentities, ...rest } = config;
  return {
    ...rest,
    declaresWorkloads: isCountersign,
    namespacePath: (namespace) => namespacePathOf(workloadIdentities, namespace),
  };
}

interface EntryTargets {
  readonly index: IdentityIndex;
  readonly latency: PodLatency;
  readonly onFailures: (ref: ObjectRef) => void;
  readonly onRefused: (desired: Desired, problem: Problem) => void;
}

/** What the CA refuses is told at the object that declares it, and at the pod that goes without. */
function tellRefused(
  { declarer, pod }: Desired,
  problem: Problem,
  { declared, index, tell }: Pick<PartsOptions, 'tell'> & { readonly declared: DeclaredObjects; readonly index: IdentityIndex },
): void {
  const object = declared.get(declarationKey(declarer));
  const place = pod === '' ? '' : `pod ${pod}: `;
  if (object !== undefined) tell(subjectOf(object), { ...problem, message: `${place}${problem.message}` });
  const record = index.pod(pod);
  if (record === undefined) return;
  const { namespace, name, uid } = record;
  tell(subjectOf({ type: PODS, ref: { kind: PODS.kind, namespace, name, uid } }), problem);
}

function createEntries(
  { config, connection, clock, log }: PartsOptions,
  { index, latency, onFailures, onRefused }: EntryTargets,
): EntryReconciler {
  return new EntryReconciler({
    desired: index,
    client: new EntryClient(connection),
    prefix: config.entryIdPrefix,
    clock,
    log,
    driftCheckMs: config.driftCheck.ms,
    massDeletion: config.massDeletion,
    onCreated: (pod) => latency.created(pod),
    onFailures,
    onRefused,
  });
}

function createRelationships(
  { config, connection, owned, clock, log }: PartsOptions,
  index: FederationIndex,
  listeners: { readonly onChanged: (trustDomain: string) => void; readonly onFederated: () => void },
): FederationReconciler {
  const client = new FederationClient(connection);
  return new FederationReconciler({ index, client, owned, clock, log, driftCheckMs: config.driftCheck.ms, ...listeners });
}

function podEntriesOf(index: IdentityIndex, entries: EntryReconciler): PodEntries {
  return {
    entriesOfPod: (uid) => index.entriesOfPod(uid).map((each) => ({ ...each, entryId: entries.entryId(each.entry.key) })),
  };
}

async function readWhole(source: ResourceSource, { namespace, name, nodeName = '' }: PodRecord) {
  const [pod, node] = await Promise.all([source.read(PODS, { namespace, name }), source.read(NODES, { name: nodeName })]);
  return pod && node && { pod: podRecord(pod, EVERYTHING), node: nodeRecord(node, EVERYTHING) };
}
