// The real processes of the benchmark beside the API server: CA, controller, and one node's agent.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { sleep, systemClock } from '../../../core/clock.ts';
import { Entry } from '../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { GrpcConnection } from '../../../runtime/grpc-client.ts';
import { NODES, PODS } from '../../../runtime/kubernetes/resource-types.ts';
import { freePort } from '../../support/free-port.ts';
import { createNamespace, createServiceAccount, createToken } from '../../support/kubernetes/stand-in-node.ts';
import { residentMib, startDaemon, type Daemon } from '../daemon.ts';
import { enrolment, startCa, type Server } from '../stacks.ts';
import type { LargeCluster } from './cluster.ts';

const COMMAND = join(import.meta.dirname, '../../../dist/countersign.js');
const SYSTEM = 'countersign-system';
const TRUST_DOMAIN = 'example.org';
/** Who may ask the agent for what other workloads get. */
export const DELEGATE_PATH = '/bench/delegate';

/** A CA that attests nodes by their tokens, and where its metrics are. */
export interface KubernetesCa {
  readonly ca: Server;
  readonly metricsUrl: string;
}

/** Starts a CA for the cluster. */
export async function startKubernetesCa(folder: string, { server }: LargeCluster): Promise<KubernetesCa> {
  const httpPort = await freePort();
  const clusters = { main: { serviceAccounts: [`${SYSTEM}:agent`], kubeconfig: server.kubeconfigFile } };
  const settings = [`attestors: { joinToken: {}, k8sPsat: { clusters: ${JSON.stringify(clusters)} } }`];
  return { ca: await startCa(folder, { httpPort, settings }), metricsUrl: `http://127.0.0.1:${httpPort}/metrics` };
}

/** A running controller. */
export interface Controller extends AsyncDisposable {
  readonly pid: number;
  /** When its process was started, monotonic milliseconds. */
  readonly startedMs: number;
  /** The most memory that it had so far, in MiB. */
  readonly peakMib: number;
  /** A metric without labels, or the sum over its labels; 0 while it does not serve. */
  metric(name: string): Promise<number>;
}

/** Starts the controller's process; it returns at once. */
export async function startController(folder: string, { server }: LargeCluster, ca: Server): Promise<Controller> {
  mkdirSync(folder, { recursive: true });
  const httpPort = await freePort();
  const config = [
    `trustDomain: ${TRUST_DOMAIN}`,
    'clusterName: main',
    `ca: { socket: "${ca.admin}" }`,
    `kubernetes: { kubeconfig: "${server.kubeconfigFile}" }`,
    `leaderElection: { namespace: ${SYSTEM}, name: countersign-controller }`,
    `listen: { http: "127.0.0.1:${httpPort}" }`,
    'log: { level: info }',
  ];
  const [configFile, logFile] = [join(folder, 'controller.yaml'), join(folder, 'controller.log')];
  writeFileSync(configFile, config.join('\n'));
  const log = openSync(logFile, 'a');
  const startedMs = systemClock.monotonicMs();
  const child = spawn(process.execPath, [COMMAND, 'controller', 'run', '--config', configFile], { stdio: ['ignore', log, log] });
  closeSync(log);
  const pid = child.pid ?? 0;
  child.once('exit', (code) => {
    if (code !== 0) process.stderr.write(`the controller ended with ${code}:\n${readFileSync(logFile, 'utf8').slice(-3000)}\n`);
  });
  return {
    pid,
    startedMs,
    get peakMib() {
      return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
    },
    metric: (name) => metricAt(`http://127.0.0.1:${httpPort}/metrics`, name),
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** The sum of a metric over its labels, of those lines that hold a text; 0 while nobody serves it. */
export async function metricAt(url: string, name: string, holds = /./): Promise<number> {
  try {
    const text = await (await fetch(url)).text();
    const values = text.matchAll(new RegExp(`^${name}(\\{[^}]*\\})? (\\S+)$`, 'gm'));
    return [...values].filter(([line]) => holds.test(line)).reduce((sum, [, , value]) => sum + Number(value), 0);
  } catch {
    return 0;
  }
}

/** An agent of one node, attested by the token of its pod there. */
export interface NodeAgent extends AsyncDisposable {
  readonly id: string;
  readonly node: string;
  readonly adminSocket: string;
  readonly residentMib: number;
}

/** Prepares the namespace that the system's own objects are in. */
export async function prepareSystemNamespace({ server }: LargeCluster): Promise<void> {
  await createNamespace(server, SYSTEM);
  await createServiceAccount(server, SYSTEM, 'agent');
}

/** Starts the agent of a node. */
export async function startNodeAgent(folder: string, cluster: LargeCluster, ca: Server, node: string): Promise<NodeAgent> {
  mkdirSync(folder, { recursive: true });
  const { client, server } = cluster;
  const { metadata } = await client.get(NODES, { name: node });
  const spec = {
    nodeName: node,
    serviceAccountName: 'agent',
    containers: [{ name: 'agent', image: 'example.test/countersign:1' }],
  };
  const pod = await client.create(PODS, { metadata: { namespace: SYSTEM, name: `agent-${node}` }, spec });
  const bound = { name: `agent-${node}`, uid: pod.metadata.uid ?? '' };
  const options = { namespace: SYSTEM, serviceAccount: 'agent', audience: 'spire-server', ttlSeconds: 3600, pod: bound };
  const token = await createToken(server, options);
  writeFileSync(join(folder, 'token'), token, { mode: 0o600 });
  writeFileSync(join(folder, 'bundle.pem'), (await enrolment(ca)).bundlePem);
  const adminSocket = join(folder, 'private', 'admin.sock');
  const config = [
    `trustDomain: ${TRUST_DOMAIN}`,
    'dataDir: ./data',
    `server: "${ca.address}"`,
    'bootstrap: { file: ./bundle.pem }',
    'attestor: { k8sPsat: { cluster: main, tokenFile: ./token } }',
    'keys: { kind: memory }',
    'workloadAttestors: { unix: {} }',
    `authorizedDelegates: ["spiffe://${TRUST_DOMAIN}${DELEGATE_PATH}"]`,
    'listen: { workload: "unix:./api.sock", admin: "unix:./private/admin.sock", http: "127.0.0.1:0" }',
    'log: { level: warn }',
  ].join('\n');
  const daemon: Daemon = await startDaemon('agent', folder, { config, socket: join(folder, 'api.sock') });
  return {
    id: `/spire/agent/k8s_psat/main/${metadata.uid ?? ''}`,
    node,
    adminSocket,
    get residentMib() {
      return residentMib(daemon.pid);
    },
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  };
}

/** Waits until the CA has so many entries. @returns when it had, monotonic milliseconds */
export async function untilEntries(
  admin: GrpcConnection,
  holds: (count: number) => boolean,
  { pollMs, withinMs }: { readonly pollMs: number; readonly withinMs: number },
): Promise<number> {
  const client = admin.client(Entry);
  const endMs = systemClock.monotonicMs() + withinMs;
  for (;;) {
    const { count } = await client.countEntries({});
    const nowMs = systemClock.monotonicMs();
    if (holds(count)) return nowMs;
    if (nowMs > endMs) throw new Error(`the CA has ${count} entries after ${withinMs / 1000} s`);
    await sleep(systemClock, pollMs);
  }
}
