// A real API server that holds a large cluster.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';

import { pino } from 'pino';

import { systemClock } from '../../../core/clock.ts';
import { openKubeClient, type KubeClient } from '../../../runtime/kubernetes/client.ts';
import type { KubeObject } from '../../../runtime/kubernetes/object.ts';
import { NAMESPACES, NODES, type ResourceType } from '../../../runtime/kubernetes/resource-types.ts';
import { TestApiServer } from '../../support/kubernetes/api-server.ts';
import type { TestObject } from '../../support/kubernetes/rest.ts';
import {
  identity,
  IDENTITIES,
  IDENTITIES_COUNT,
  namespaceName,
  NAMESPACES_COUNT,
  nodeName,
  NODES_COUNT,
  pod,
} from './fixture.ts';

/** Requests in flight while loading. */
const PARALLEL = 24;
const PODS_AT_ONCE = 1_024;

/** An API server with everything in it. */
export interface LargeCluster extends AsyncDisposable {
  readonly server: TestApiServer;
  readonly client: KubeClient;
}

/** Starts an API server and writes nodes, namespaces, pods and identities into it. */
export async function startLargeCluster(pods: number): Promise<LargeCluster> {
  const server = await TestApiServer.start({
    crds: [join(import.meta.dirname, '../../../crds')],
    // An empty place for the events of a benchmark is enough; the watch caches are what a cluster of this size has.
    arguments: ['--event-ttl=5m'],
  });
  const { kubeconfigFile } = server;
  const client = await openKubeClient({ kubeconfigFile, clock: systemClock, log: pino({ level: 'silent' }) });
  const startedMs = systemClock.monotonicMs();
  await createAll(client, NAMESPACES, NAMESPACES_COUNT, (index) => ({ metadata: { name: namespaceName(index) } }));
  await createAll(client, NODES, NODES_COUNT, (index) => ({
    metadata: { name: nodeName(index), labels: { zone: `z${index % 3}` } },
  }));
  await writePods(server, pods);
  await createAll(client, IDENTITIES, IDENTITIES_COUNT, identity);
  const seconds = (systemClock.monotonicMs() - startedMs) / 1000;
  process.stderr.write(`  ${pods} pods loaded in ${seconds.toFixed(1)} s; API server ${server.residentMib.toFixed(0)} MiB\n`);
  return {
    server,
    client,
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/**
 * Writes bound pods into etcd as the API server would have stored them: it is asked what it makes of one, and the others are made
 * like it. Creating each would take minutes.
 */
async function writePods(server: TestApiServer, pods: number): Promise<void> {
  const first = pod({ index: 0, node: nodeName(0) });
  const like = await server.api.expect('POST', `/api/v1/namespaces/${namespaceName(0)}/pods?dryRun=All`, first);
  for (let from = 0; from < pods; from += PODS_AT_ONCE) {
    const batch = Array.from({ length: Math.min(PODS_AT_ONCE, pods - from) }, (_, at) => storedPod(like, from + at));
    await server.writeToEtcd(new Map(batch));
  }
}

function storedPod(like: TestObject, index: number): [key: string, value: string] {
  const { metadata, spec } = pod({ index, node: nodeName(index) });
  // The casts are sound: the fixture's own spec, and what the API server made of it.
  const { nodeName: node, serviceAccountName } = spec as { readonly nodeName: string; readonly serviceAccountName: string };
  const stored = {
    ...like,
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...like.metadata, ...metadata, uid: randomUUID() },
    spec: { ...(like['spec'] as object), nodeName: node, serviceAccountName, serviceAccount: serviceAccountName },
  };
  return [`/registry/pods/${metadata.namespace}/${metadata.name}`, JSON.stringify(stored)];
}

/** Creates objects, many at once. */
export async function createAll(
  client: KubeClient,
  type: ResourceType,
  count: number,
  object: (index: number) => KubeObject,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) await client.create(type, object(index), { timeoutMs: 120_000 });
  };
  await Promise.all(Array.from({ length: Math.min(count, PARALLEL) }, worker));
}

/** How many writes the API server has taken, Leases and Events apart. */
export async function apiWrites(client: KubeClient): Promise<number> {
  const text = await client.raw('/metrics');
  const requests = text.matchAll(/^apiserver_request_total\{([^}]*)\} (\S+)$/gm);
  return [...requests]
    .filter(([, labels = '']) => /verb="(POST|PUT|PATCH|APPLY|DELETE|DELETECOLLECTION)"/.test(labels))
    .filter(
      ([, labels = '']) =>
        !/resource="(leases|events)"/.test(labels) && !/group="(authentication|authorization)\.k8s\.io"/.test(labels),
    )
    .reduce((sum, [, , value = '0']) => sum + Number(value), 0);
}
