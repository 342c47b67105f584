// SPIRE's server and its controller manager on the same API server, for comparison.
import { join } from 'node:path';

import { sleep, systemClock } from '../../../core/clock.ts';
import { Entry } from '../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { GrpcConnection } from '../../../runtime/grpc-client.ts';
import type { KubeObject } from '../../../runtime/kubernetes/object.ts';
import { CUSTOM_RESOURCE_DEFINITIONS, PODS, type ResourceType } from '../../../runtime/kubernetes/resource-types.ts';
import { spireControllerManager, startSpireControllerManager } from '../../support/spire-controller-manager.ts';
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

const SPIRE_IDENTITIES = spireType('ClusterSPIFFEID', 'clusterspiffeids');
const SPIRE_TYPES = [
  SPIRE_IDENTITIES,
  spireType('ClusterStaticEntry', 'clusterstaticentries'),
  spireType('ClusterFederatedTrustDomain', 'clusterfederatedtrustdomains'),
];

/** Measures SPIRE; undefined when `SPIRE_BIN` does not hold `spire-controller-manager` too. */
export async function measurePeer(folder: string, cluster: LargeCluster, pods: number): Promise<PeerFigures | undefined> {
  if (spireControllerManager === undefined) return undefined;
  const { client } = cluster;
  await createAll(client, CUSTOM_RESOURCE_DEFINITIONS, SPIRE_TYPES.length, (at) =>
    permissive(SPIRE_TYPES[at] ?? SPIRE_IDENTITIES),
  );
  await untilServed(cluster);
  // The same identities: ours are a superset of SPIRE's.
  await createAll(client, SPIRE_IDENTITIES, IDENTITIES_COUNT, identity);
  await using server = await spire.startServer(join(folder, 'spire-server'));
  using admin = adminOf(server);
  await using manager = await startSpireControllerManager(join(folder, 'manager'), {
    kubeconfigFile: cluster.server.kubeconfigFile,
    adminSocket: server.admin.replace('unix:', ''),
  });
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
