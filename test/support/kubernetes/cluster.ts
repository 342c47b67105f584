// A real cluster: the one that `KUBECONFIG` names, or one of one node that is made here, in namespaces of its own.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { runToEnd } from '../command.ts';
import type { Finished } from '../command.ts';
import { cacheFolder } from '../toolchain.ts';
import { buildCoreDnsImage, buildPauseImage } from './base-images.ts';
import { CLUSTER_BINARIES, KUBERNETES, kubernetesBinaries } from './binaries.ts';
import { writeClusterFiles } from './cluster-files.ts';
import { NODE_NAME } from './cluster-network.ts';
import type { ImageArchive } from './docker-archive.ts';
import { endNode, firstProcessOf, inNode, startNode } from './node-namespaces.ts';

/** Where the cluster is, for a process that did not start it. */
export interface ClusterState {
  readonly kubeconfigFile: string;
  /** The process whose end is the cluster's; absent for a cluster that is not ours. */
  readonly pid?: number;
  /** Holds its files and logs. */
  readonly folder?: string;
  /** Those of the machine before the cluster was made, as {@link machineSettings} reads them. */
  readonly settingsBefore?: readonly string[];
}

/** The settings of the whole machine that a kubelet would change. */
export function machineSettings(): string[] {
  return ['vm/overcommit_memory', 'kernel/panic', 'kernel/panic_on_oops'].map((name) =>
    readFileSync(`/proc/sys/${name}`, 'utf8'),
  );
}

/** A cluster that a test uses. */
export class Cluster {
  readonly state: ClusterState;

  constructor(state: ClusterState) {
    this.state = state;
  }

  /** Runs kubectl as the administrator. @returns its standard output. @throws Error with what it complained of */
  async kubectl(args: readonly string[], input = ''): Promise<string> {
    const { code, stdout, stderr } = await this.tryKubectl(args, input);
    // A program that failed in a pod may have said why on its standard output.
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')} ended with ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  /** Runs kubectl as the administrator, and yields all that came of it; warnings are on its standard error. */
  async tryKubectl(args: readonly string[], input = ''): Promise<Finished> {
    return runToEnd('kubectl', ['--kubeconfig', this.state.kubeconfigFile, ...args], { input });
  }

  /** Applies YAML text, any number of documents. */
  async applyYaml(yaml: string): Promise<void> {
    await this.kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], yaml);
  }

  /** Makes an image known to the node. Another's cluster needs `COUNTERSIGN_IMAGE_LOADER`, such as `kind load image-archive`. */
  async loadImage({ reference, archive }: ImageArchive): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), 'countersign-image-'));
    try {
      const file = join(folder, 'image.tar');
      writeFileSync(file, archive);
      const [program, ...args] = this.#imageLoader(file);
      const { code, stderr } = await runToEnd(program, args);
      if (code !== 0) throw new Error(`loading ${reference} ended with ${code}: ${stderr}`);
    } finally {
      rmSync(folder, { recursive: true });
    }
    return reference;
  }

  /** Runs a command on the node, in its mounts, network and process numbers. */
  async onNode(command: readonly string[]): Promise<string> {
    const [program, ...args] = inNode(this.#pid(), command);
    const { code, stdout, stderr } = await runToEnd(program, args);
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${stderr}`);
    return stdout;
  }

  #imageLoader(file: string): readonly [string, ...string[]] {
    if (this.state.pid !== undefined) return inNode(this.state.pid, ['ctr', '-n', 'k8s.io', 'images', 'import', file]);
    const loader = process.env['COUNTERSIGN_IMAGE_LOADER'];
    if (loader === undefined) throw new Error('set COUNTERSIGN_IMAGE_LOADER to what loads an image archive into the cluster');
    return ['sh', '-c', `${loader} "$0"`, file];
  }

  #pid(): number {
    if (this.state.pid === undefined) throw new Error('only the cluster that the tests made has a node to enter');
    return this.state.pid;
  }
}

/** The folder of the cluster that is made here: one on a machine. */
export function clusterFolder(): string {
  return join(cacheFolder(), 'cluster');
}

/** The cluster that runs already; undefined when none does. */
export function runningCluster(): Cluster | undefined {
  const given = process.env['KUBECONFIG'];
  if (given !== undefined) return new Cluster({ kubeconfigFile: given });
  const file = join(clusterFolder(), 'state.json');
  if (!existsSync(file)) return undefined;
  // The cast is sound: startCluster wrote it.
  const state = JSON.parse(readFileSync(file, 'utf8')) as ClusterState;
  return firstProcessOf(state.pid ?? 0) === undefined ? undefined : new Cluster(state);
}

/** Makes the cluster and returns when pods can run and DNS answers, in about 15 s. `endsWithUs`: it ends when this process does. */
export async function startCluster({ endsWithUs }: { readonly endsWithUs: boolean }): Promise<Cluster> {
  const binaries = await kubernetesBinaries({ version: KUBERNETES.cluster, names: CLUSTER_BINARIES });
  const [pause, dns] = [await buildPauseImage(), await buildCoreDnsImage()];
  const folder = clusterFolder();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const kubeconfigFile = await writeClusterFiles(folder, pause.reference);
  const settingsBefore = machineSettings();
  const pid = await startNode({ folder, binaries, endsWithUs });
  const cluster = new Cluster({ kubeconfigFile, pid, folder, settingsBefore });
  try {
    await until('containerd', () => cluster.onNode(['ctr', 'version']));
    for (const image of [pause, dns]) await cluster.loadImage(image);
    await until('the API server', () => cluster.kubectl(['get', '--raw', '/readyz']));
    await cluster.applyYaml(
      readFileSync(join(import.meta.dirname, 'coredns.yaml'), 'utf8').replace('COREDNS_IMAGE', dns.reference),
    );
    await until('the node', () => nodeIsReady(cluster));
    await until('the default service account', () => cluster.kubectl(['get', 'serviceaccount', 'default']));
    await cluster.kubectl(['rollout', 'status', 'deployment/coredns', '-n', 'kube-system', '--timeout=60s']);
  } catch (error) {
    await endNode(pid);
    throw new Error(`the cluster did not start; its logs are in ${join(folder, 'log')}`, { cause: error });
  }
  writeFileSync(join(folder, 'state.json'), JSON.stringify(cluster.state));
  return cluster;
}

/** Ends the cluster that was made here. */
export async function stopCluster({ state }: Cluster): Promise<void> {
  if (state.pid !== undefined && state.folder !== undefined) await endNode(state.pid, state.folder);
}

async function nodeIsReady(cluster: Cluster): Promise<void> {
  // The cast is sound: it is how kubectl prints a node.
  const node = JSON.parse(await cluster.kubectl(['get', 'node', NODE_NAME, '-o', 'json'])) as {
    spec: { taints?: unknown[] };
    status: { conditions: { type: string; status: string }[] };
  };
  const ready = node.status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
  if (!ready || (node.spec.taints ?? []).length > 0) throw new Error(`not ready: ${JSON.stringify(node.status.conditions)}`);
}

async function until(what: string, attempt: () => Promise<unknown>, withinMs = 90_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw new Error(`${what} was not there within ${withinMs} ms`, { cause: error });
    }
    await sleep(200);
  }
}
