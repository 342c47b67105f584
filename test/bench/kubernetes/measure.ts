// 30,000 pods, 500 nodes, 200 identities: the controller against a real API server and a real CA.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { sleep, systemClock } from '../../../core/clock.ts';
import { DelegatedIdentity } from '../../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts';
import { Entry } from '../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { connectGrpc, type GrpcConnection } from '../../../runtime/grpc-client.ts';
import { PODS } from '../../../runtime/kubernetes/resource-types.ts';
import { residentMib } from '../daemon.ts';
import type { Figure } from '../report.ts';
import { adminOf } from '../stacks.ts';
import { apiWrites, startLargeCluster, type LargeCluster } from './cluster.ts';
import { everyPodIdentity, IDENTITIES, IDENTITIES_COUNT, namespaceName, nodeName, NODES_COUNT, pod } from './fixture.ts';
import { formatHistogram, quantile } from './histogram.ts';
import {
  DELEGATE_PATH,
  metricAt,
  prepareSystemNamespace,
  startController,
  startKubernetesCa,
  startNodeAgent,
  untilEntries,
  type Controller,
  type KubernetesCa,
  type NodeAgent,
} from './processes.ts';
import { measurePeer, type PeerFigures } from './spire-peer.ts';

const NEW_PODS = 100;
const BINDINGS = 200;
const FIRST = 'first full reconciliation';
const CA_MEMORY = 'CA with the entries';
const NEW_POD = 'new pod to its entry, median';
const ALL_MADE = 'one resource more that selects every pod: all entries made';
const ALL_REMOVED = 'that resource deleted: all its entries removed';
const MOST_MEMORY = 'controller, most memory in all of it';
const SETTLE_MS = 8_000;
const PATIENCE_MS = 600_000;

/** Everything that one run of the benchmark works with. */
interface Bench {
  readonly cluster: LargeCluster;
  readonly authority: KubernetesCa;
  readonly admin: GrpcConnection;
  readonly folder: string;
  readonly pods: number;
}

/** What is measured of a cluster with so many pods. */
export async function measureKubernetes(folder: string, pods: number): Promise<Figure[]> {
  const own = join(folder, 'kubernetes');
  mkdirSync(own, { recursive: true });
  await using cluster = await startLargeCluster(pods);
  await prepareSystemNamespace(cluster);
  const authority = await startKubernetesCa(join(own, 'ca'), cluster);
  await using ca = authority.ca;
  using admin = adminOf(ca);
  const bench: Bench = { cluster, authority, admin, folder: own, pods };
  const figures = await measureFirst(bench);
  {
    await using controller = await startController(join(own, 'controller-2'), cluster, ca);
    figures.push(...(await measureResync(bench, controller)));
    figures.push(...(await measureNewPods(bench)));
    figures.push(...(await measureBindings(bench)));
    figures.push(...(await measureRemoval(bench, controller)));
  }
  // The peer takes many minutes: what is known is told before.
  for (const { what, countersign, unit } of figures) process.stderr.write(`  ${what}: ${countersign.toFixed(2)} ${unit}\n`);
  return withPeer(figures, await measurePeer(own, cluster, pods));
}

/** Puts what was measured of SPIRE beside ours. */
function withPeer(figures: readonly Figure[], peer: PeerFigures | undefined): Figure[] {
  if (peer === undefined) return [...figures];
  const beside = new Map([
    [FIRST, peer.firstSeconds],
    [MOST_MEMORY, peer.managerMib],
    [CA_MEMORY, peer.serverMib],
    [NEW_POD, peer.newPodMs],
    [ALL_MADE, peer.everyMadeSeconds],
    [ALL_REMOVED, peer.everyRemovedSeconds],
  ]);
  return figures.map((each) => {
    const value = beside.get(each.what);
    return value === undefined ? each : { ...each, spire: value };
  });
}

async function measureFirst(bench: Bench): Promise<Figure[]> {
  const { cluster, authority, admin, folder, pods } = bench;
  await using controller = await startController(join(folder, 'controller-1'), cluster, authority.ca);
  const doneMs = await untilEntries(admin, (count) => count >= pods, { pollMs: 100, withinMs: PATIENCE_MS });
  const seconds = (doneMs - controller.startedMs) / 1000;
  await settled(bench, controller);
  const note = `${pods} pods, ${NODES_COUNT} nodes, ${IDENTITIES_COUNT} identities; from the start of its process`;
  const [peak, now] = [controller.peakMib, residentMib(controller.pid)];
  process.stderr.write(
    `  first reconciliation ${seconds.toFixed(1)} s; controller ${peak.toFixed(0)} MiB at most, ${now.toFixed(0)} MiB now\n`,
  );
  return [
    figure(FIRST, 's', seconds, 60, note),
    figure('controller, most memory during it', 'MiB', peak, 400),
    figure('controller, memory afterwards', 'MiB', now, 400),
    figure(CA_MEMORY, 'MiB', residentMib(authority.ca.pid), 400),
  ];
}

/** Waits until the controller has nothing to do and has had nothing to write for a while. */
async function settled({ cluster, authority }: Bench, controller: Controller): Promise<void> {
  const endMs = systemClock.monotonicMs() + PATIENCE_MS;
  for (let quietMs = 0; quietMs < SETTLE_MS;) {
    const before = [await apiWrites(cluster.client), await caWrites(authority)];
    await sleep(systemClock, 1_000);
    const after = [await apiWrites(cluster.client), await caWrites(authority)];
    const leads = (await controller.metric('countersign_controller_leading')) === 1;
    quietMs = leads && before.every((count, at) => count === after[at]) ? quietMs + 1_000 : 0;
    if (systemClock.monotonicMs() > endMs) throw new Error('the controller never comes to rest');
  }
}

function caWrites({ metricsUrl }: KubernetesCa): Promise<number> {
  return metricAt(metricsUrl, 'countersign_rpc_handled_total', /Batch(Create|Update|Delete)Entry/);
}

/** The controller was started again: it lists everything, and nothing is different. */
async function measureResync(bench: Bench, controller: Controller): Promise<Figure[]> {
  const { cluster, authority } = bench;
  const before = { api: await apiWrites(cluster.client), ca: await caWrites(authority) };
  await settled(bench, controller);
  const seconds = (systemClock.monotonicMs() - controller.startedMs) / 1000 - SETTLE_MS / 1000;
  return [
    figure('unchanged resync: writes to the API server', '', (await apiWrites(cluster.client)) - before.api, 0),
    figure(
      'unchanged resync: writes to the CA',
      '',
      (await caWrites(authority)) - before.ca,
      0,
      `at rest after ${seconds.toFixed(0)} s`,
    ),
  ];
}

/** Pods that are bound from the start: from the return of the call that made them to the entry at the CA. */
async function measureNewPods({ cluster, admin, pods }: Bench): Promise<Figure[]> {
  const timesMs: number[] = [];
  const { count: before } = await admin.client(Entry).countEntries({});
  for (let made = 0; made < NEW_PODS; made += 1) {
    const index = pods + made;
    await cluster.client.create(PODS, pod({ index, node: nodeName(index), every: false, group: 'new' }));
    const returnedMs = systemClock.monotonicMs();
    const seenMs = await untilEntries(admin, (count) => count > before + made, { pollMs: 1, withinMs: 60_000 });
    timesMs.push(seenMs - returnedMs);
    await sleep(systemClock, 20);
  }
  process.stderr.write(`  new pod to entry:\n${formatHistogram(timesMs)}\n`);
  return [
    figure(
      'new pod to its entry, median',
      'ms',
      quantile(timesMs, 0.5),
      50,
      'from the return of the create call; polled each ms',
    ),
    figure('new pod to its entry, 99th percentile', 'ms', quantile(timesMs, 0.99)),
  ];
}

/** From the return of the bind call to the SVID in the agent of that node. */
async function measureBindings(bench: Bench): Promise<Figure[]> {
  const { cluster, authority, admin, folder, pods } = bench;
  await using agent = await startNodeAgent(join(folder, 'agent'), cluster, authority.ca, nodeName(0));
  await entitleDelegate(admin, agent);
  using connection = connectGrpc({ target: { kind: 'unix', path: agent.adminSocket }, clock: systemClock });
  const timesMs: number[] = [];
  for (let bound = 0; bound < BINDINGS; bound += 1) {
    timesMs.push(await bindOne(cluster, connection, agent, pods + bound));
    await sleep(systemClock, 20);
  }
  const histogram = formatHistogram(timesMs);
  process.stderr.write(`  pod bound to SVID in the agent:\n${histogram}\n`);
  writeFileSync(join(folder, 'bound-to-svid.txt'), `${timesMs.join('\n')}\n`);
  const note = `agent attested by k8s_psat, ${Math.round(pods / NODES_COUNT)} SVIDs already; ${BINDINGS} pods`;
  return [
    figure('pod bound to SVID in its agent, median', 'ms', quantile(timesMs, 0.5)),
    figure('pod bound to SVID in its agent, 99th percentile', 'ms', quantile(timesMs, 0.99), 250, note),
    figure('agent of that node', 'MiB', agent.residentMib),
  ];
}

/** Lets this very process ask the agent for what other workloads get. */
async function entitleDelegate(admin: GrpcConnection, { id }: NodeAgent): Promise<void> {
  const trustDomain = 'example.org';
  const entry = {
    spiffeId: { trustDomain, path: DELEGATE_PATH },
    parentId: { trustDomain, path: id },
    selectors: [{ type: 'unix', value: `uid:${process.getuid?.() ?? 0}` }],
  };
  const { results } = await admin.client(Entry).batchCreateEntry({ entries: [entry] });
  if (results[0]?.status?.code !== 0) throw new Error(`the delegate's entry was refused: ${results[0]?.status?.message}`);
}

async function bindOne(cluster: LargeCluster, agent: GrpcConnection, { node }: NodeAgent, index: number): Promise<number> {
  const { client } = cluster;
  const { metadata } = await client.create(PODS, pod({ index, every: false, group: 'bound' }));
  const stop = new AbortController();
  const arrived = svidArrives(agent, metadata.uid ?? '', stop.signal);
  const name = { namespace: namespaceName(index), name: metadata.name ?? '' };
  const target = { apiVersion: 'v1', kind: 'Node', name: node };
  await sleep(systemClock, 20);
  await client.create(PODS, { metadata: name, target }, { subresource: 'binding' });
  const returnedMs = systemClock.monotonicMs();
  const arrivedMs = await arrived;
  stop.abort();
  return Math.max(0, arrivedMs - returnedMs);
}

/** When the agent has the SVID of a pod, monotonic milliseconds. */
async function svidArrives(agent: GrpcConnection, podUid: string, signal: AbortSignal): Promise<number> {
  const selectors = [{ type: 'k8s', value: `pod-uid:${podUid}` }];
  for (let attempt = 0; attempt < 50; attempt += 1) {
    try {
      for await (const { x509Svids } of agent.client(DelegatedIdentity).subscribeToX509SVIDs({ selectors }, { signal })) {
        if (x509Svids.length > 0) return systemClock.monotonicMs();
      }
    } catch (error) {
      // Until its own entry has arrived, the delegate is nobody.
      if (attempt === 49) throw error;
      await sleep(systemClock, 100, signal);
    }
  }
  throw new Error('the agent ended the stream');
}

/** One resource that gives every pod an identity, and its removal. */
async function measureRemoval(bench: Bench, controller: Controller): Promise<Figure[]> {
  const { cluster, admin, pods } = bench;
  await settled(bench, controller);
  const { count: before } = await admin.client(Entry).countEntries({});
  const { metadata } = await cluster.client.create(IDENTITIES, everyPodIdentity());
  const createdMs = systemClock.monotonicMs();
  const fullMs = await untilEntries(admin, (count) => count >= before + pods, { pollMs: 100, withinMs: PATIENCE_MS });
  await settled(bench, controller);
  await cluster.client.delete(IDENTITIES, { name: metadata.name ?? '' });
  const deletedMs = systemClock.monotonicMs();
  const emptyMs = await untilEntries(admin, (count) => count <= before, { pollMs: 100, withinMs: PATIENCE_MS });
  return [
    figure(ALL_MADE, 's', (fullMs - createdMs) / 1000),
    figure(ALL_REMOVED, 's', (emptyMs - deletedMs) / 1000, 30),
    figure(MOST_MEMORY, 'MiB', controller.peakMib, 400),
  ];
}

function figure(what: string, unit: string, countersign: number, atMost?: number, note?: string): Figure {
  return {
    section: 'kubernetes',
    what,
    unit,
    countersign,
    lessIsBetter: true,
    ...(atMost === undefined ? {} : { target: { atMost } }),
    ...(note === undefined ? {} : { note }),
  };
}
