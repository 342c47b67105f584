import { hostname } from 'node:os';
import { openKubeClient, type KubeClient } from '../runtime/kubernetes/client.ts';
import { EventRecorder } from '../runtime/kubernetes/events.ts';
import type { Assembly, ControllerOptions } from './assembly.ts';
import type { subjectOf } from './declared-objects.ts';
import { recordInConfigMap, recordInMemory } from './federation/owned-relationships.ts';
import type { PartsOptions } from './parts.ts';
import { refText } from './ports.ts';
import { ApiServerSource } from './sources/api-server.ts';
import { DirectorySource } from './sources/directory.ts';
import { apiServerSink, printingSink } from './status/sinks.ts';

/** Where resources come from, and where it is told what became of them. */
export interface Surroundings extends Pick<PartsOptions, 'source' | 'sink' | 'owned' | 'tell' | 'isUnreviewed'> {
  /** Undefined when resources come from a folder. */
  readonly cluster: Cluster | undefined;
}

/** A cluster to write into. */
export interface Cluster {
  readonly client: KubeClient;
  readonly events: EventRecorder;
}

/** Reads a folder of files; statuses and problems are printed. */
export function openFolder(directory: string, { clock, log, write }: ControllerOptions): Surroundings {
  const complain = (message: string): void => {
    log.warn({ problem: message }, 'resource not usable');
    write(`${message}\n`);
  };
  return {
    cluster: undefined,
    isUnreviewed: true,
    source: new DirectorySource({ directory, clock, complain }),
    sink: printingSink(write),
    owned: recordInMemory(),
    tell: (about, { reason, message }) => write(`${refText({ namespace: '', ...about })}: ${reason}: ${message}\n`),
  };
}

/** Reaches the API server; statuses go into the objects, problems into Kubernetes Events until the signal aborts. */
export async function openCluster(
  { config, clock, log, metrics: { kube: metrics }, inCluster }: Assembly,
  { resources, signal }: { readonly resources: AsyncDisposableStack; readonly signal: AbortSignal },
): Promise<Surroundings> {
  const { kubeconfig, context } = config.kubernetes;
  const common = { clock, log: log.child({ component: 'kubernetes' }), metrics };
  const client = resources.use(
    await openKubeClient({
      ...common,
      ...(kubeconfig === undefined ? {} : { kubeconfigFile: kubeconfig }),
      ...(context === undefined ? {} : { context }),
      inCluster,
      userAgent: 'countersign-controller',
    }),
  );
  const recorder = { ...common, client, controller: 'countersign.dev/controller', instance: hostname(), signal };
  const events = new EventRecorder(recorder);
  const { namespace, name } = config.leaderElection;
  return {
    cluster: { client, events },
    isUnreviewed: false,
    source: new ApiServerSource({ ...common, client }),
    sink: apiServerSink(client),
    owned: recordInConfigMap(client, { namespace, name: `${name}-federation` }),
    tell: (regarding: ReturnType<typeof subjectOf>, { reason, message }) =>
      events.record({ regarding, type: 'Warning', reason, action: 'RegisterIdentity', note: message }),
  };
}
