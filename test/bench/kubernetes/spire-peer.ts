// SPIRE's server and its controller manager on the same API server, for comparison.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { sleep, systemClock } from '../../../core/clock.ts';
import { Entry } from '../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { GrpcConnection } from '../../../runtime/grpc-client.ts';
import type { KubeObject } from '../../../runtime/kubernetes/object.ts';
import { CUSTOM_RESOURCE_DEFINITIONS, PODS, type ResourceType } from '../../../runtime/kubernetes/resource-types.ts';
import { freePort } from '../../support/free-port.ts';
import { spireBinaries } from '../../support/spire.ts';
import { residentMib } from '../daemon.ts';
import { adminOf, spire } from '../stacks.ts';
import { createAll, type LargeCluster } from './cluster.ts';
import { everyPodIdentity, identity, IDENTITIES_COUNT, nodeName, pod } from './fixture.ts';
import { quantile } from './histogram.ts';
import { untilEntries } from './processes.ts';

/** What was measured of the peer, by the same names as ours. */
export interface PeerFigures {
  readonly firstSeconds: number;
  readonly managerMib: number;
  readonly serverMib: number;
  readonly newPodMs: number;
  readonly everyMadeSeconds: number;
  readonly everyRemovedSeconds: number;
}

const NEW_PODS = 10;
const PATIENCE_MS = 900_000;
const BINARY = spireBinaries === undefined ? undefined : join(spireBinaries, 'spire-controller-manager');

const SPIRE_IDENTITIES = spireType('ClusterSPIFFEID', 'clusterspiffeids');
const SPIRE_TYPES = [
  SPIRE_IDENTITIES,
  spireType('ClusterStaticEntry', 'clusterstaticentries'),
  spireType('ClusterFederatedTrustDomain', 'clusterfederatedtrustdomains'),
];

/** Measures SPIRE; undefined when `SPIRE_BIN` does not hold `spire-controller-manager` too. */
export async function measurePeer(folder: string, cluster: LargeCluster, pods: number): Promise<PeerFigures | undefined> {
  if (BINARY === undefined || !existsSync(BINARY)) return undefined;
  const { client } = cluster;
  await createAll(client, CUSTOM_RESOURCE_DEFINITIONS, SPIRE_TYPES.length, (at) =>
    permissive(SPIRE_TYPES[at] ?? SPIRE_IDENTITIES),
  );
  await untilServed(cluster);
  // The same identities: ours are a superset of SPIRE's.
  await createAll(client, SPIRE_IDENTITIES, IDENTITIES_COUNT, identity);
  await using server = await spire.startServer(join(folder, 'spire-server'));
  using admin = adminOf(server);
  await using manager = await startManager(join(folder, 'manager'), cluster, server.admin);
  const within = { pollMs: 200, withinMs: PATIENCE_MS };
  const doneMs = await untilEntries(admin, (count) => count >= pods, within);
  const firstSeconds = (doneMs - manager.startedMs) / 1000;
  process.stderr.write(`  SPIRE: first reconciliation ${firstSeconds.toFixed(1)} s\n`);
  const newPodMs = await medianOfNewPods(cluster, admin, pods);
  process.stderr.write(`  SPIRE: new pod to entry ${newPodMs.toFixed(0)} ms\n`);
  const { count: before } = await admin.client(Entry).countEntries({});
  await client.create(SPIRE_IDENTITIES, everyPodIdentity());
  const createdMs = systemClock.monotonicMs();
  const madeMs = await untilEntries(admin, (count) => count >= before + pods, within);
  await client.delete(SPIRE_IDENTITIES, { name: 'every-pod' });
  const deletedMs = systemClock.monotonicMs();
  const removedMs = await untilEntries(admin, (count) => count <= before, within);
  return {
    firstSeconds,
    managerMib: residentMib(manager.pid),
    serverMib: residentMib(server.pid),
    newPodMs,
    everyMadeSeconds: (madeMs - createdMs) / 1000,
    everyRemovedSeconds: (removedMs - deletedMs) / 1000,
  };
}

async function medianOfNewPods({ client }: LargeCluster, admin: GrpcConnection, pods: number): Promise<number> {
  const timesMs: number[] = [];
  const { count: before } = await admin.client(Entry).countEntries({});
  for (let made = 0; made < NEW_PODS; made += 1) {
    const index = pods + made;
    await client.create(PODS, pod({ index, node: nodeName(index), every: false, group: 'peer' }));
    const returnedMs = systemClock.monotonicMs();
    const seenMs = await untilEntries(admin, (count) => count > before + made, { pollMs: 5, withinMs: PATIENCE_MS });
    timesMs.push(seenMs - returnedMs);
  }
  return quantile(timesMs, 0.5);
}

async function startManager(
  folder: string,
  { server }: LargeCluster,
  admin: string,
): Promise<AsyncDisposable & { readonly pid: number; readonly startedMs: number }> {
  mkdirSync(folder, { recursive: true });
  const [configFile, logFile] = [join(folder, 'config.yaml'), join(folder, 'manager.log')];
  const config = {
    apiVersion: 'spire.spiffe.io/v1alpha1',
    kind: 'ControllerManagerConfig',
    metrics: { bindAddress: `127.0.0.1:${await freePort()}` },
    health: { healthProbeBindAddress: `127.0.0.1:${await freePort()}` },
    leaderElection: { leaderElect: false },
    clusterName: 'main',
    clusterDomain: 'cluster.local',
    trustDomain: 'example.org',
    ignoreNamespaces: ['kube-system', 'countersign-system'],
    spireServerSocketPath: admin.replace('unix:', ''),
    grpc: { maxCallRecvMsgSize: 512 * 1024 * 1024 },
    logLevel: 'error',
  };
  writeFileSync(configFile, JSON.stringify(config));
  const log = openSync(logFile, 'a');
  const startedMs = systemClock.monotonicMs();
  const env = { ...process.env, KUBECONFIG: server.kubeconfigFile, ENABLE_WEBHOOKS: 'false' };
  const child = spawn(BINARY ?? '', ['--config', configFile], { env, stdio: ['ignore', log, log] });
  closeSync(log);
  child.once('exit', (code) => {
    if (code !== null)
      process.stderr.write(`the controller manager ended with ${code}:\n${readFileSync(logFile, 'utf8').slice(-2000)}\n`);
  });
  return {
    pid: child.pid ?? 0,
    startedMs,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

function spireType(kind: string, plural: string): ResourceType {
  return { group: 'spire.spiffe.io', version: 'v1alpha1', kind, plural, namespaced: false };
}

/** A definition that takes any object: what the fields are is the controller manager's business. */
function permissive({ group, version, kind, plural }: ResourceType): KubeObject {
  const openAPIV3Schema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const versions = [{ name: version, served: true, storage: true, schema: { openAPIV3Schema }, subresources: { status: {} } }];
  return { metadata: { name: `${plural}.${group}` }, spec: { group, names: { kind, plural }, scope: 'Cluster', versions } };
}

async function untilServed({ client }: LargeCluster): Promise<void> {
  for (const type of SPIRE_TYPES) while (!(await client.serves(type))) await sleep(systemClock, 100);
}
