// Countersign in the cluster: put there by its manifests and nothing else.
import { join } from 'node:path';

import type { Cluster } from './cluster.ts';
import { productImage } from './use-cluster.ts';

/** The overlay that the tests install. */
export const MANIFESTS = join(import.meta.dirname, '../../../manifests/overlays/one-node');

const SYSTEM = 'countersign-system';
const AGENTS = 'countersign-agents';
/** Says on the namespace which image was installed, so that a cluster that stays up gets a new one. */
const IMAGE_NOTE = 'countersign.test/image';

/** Every process, as `kubectl rollout` names it. */
export const PROCESSES = {
  ca: [SYSTEM, 'statefulset/countersign-ca'],
  controller: [SYSTEM, 'deployment/countersign-controller'],
  agent: [AGENTS, 'daemonset/countersign-agent'],
} as const;

/** Where a pod finds the Workload API, and the volume and mount that put it there. */
export const WORKLOAD_API = {
  address: 'unix:///spiffe-workload-api/api.sock',
  volumes: [{ name: 'spiffe', csi: { driver: 'csi.countersign.dev', readOnly: true } }],
  volumeMounts: [{ name: 'spiffe', mountPath: '/spiffe-workload-api', readOnly: true }],
} as const;

/** A running installation. */
export class Installation {
  readonly #cluster: Cluster;

  private constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Applies the manifests unless they are, with this checkout's image, and waits until every process is ready. */
  static async ready(cluster: Cluster): Promise<Installation> {
    const image = await productImage();
    const note = await noteOf(cluster);
    const installation = new Installation(cluster);
    if (note !== image) {
      await installation.apply();
      await cluster.kubectl(['annotate', '--overwrite', 'namespace', SYSTEM, `${IMAGE_NOTE}=${image}`]);
    }
    if (note !== image && note !== '') await installation.restartAll();
    await installation.rolledOut();
    return installation;
  }

  /** The cluster without Countersign, and this checkout's image known to its node. */
  static async absent(cluster: Cluster): Promise<Installation> {
    await productImage();
    const installation = new Installation(cluster);
    await installation.remove();
    return installation;
  }

  /** `kubectl apply -k`, as the guide has it. */
  async apply(folder = MANIFESTS): Promise<void> {
    await this.#cluster.kubectl(['apply', '-k', folder]);
  }

  /** `kubectl delete -k`. */
  async remove(): Promise<void> {
    await this.#cluster.kubectl(['delete', '-k', MANIFESTS, '--ignore-not-found', '--timeout=90s']);
  }

  async rolledOut(): Promise<void> {
    for (const [namespace, process] of Object.values(PROCESSES)) {
      await this.#cluster.kubectl(['-n', namespace, 'rollout', 'status', process, '--timeout=120s']);
    }
  }

  async restartAll(): Promise<void> {
    for (const [namespace, process] of Object.values(PROCESSES)) {
      await this.#cluster.kubectl(['-n', namespace, 'rollout', 'restart', process]);
    }
  }

  /** `kubectl rollout undo` of every process. */
  async rollBack(): Promise<void> {
    for (const [namespace, process] of Object.values(PROCESSES)) {
      await this.#cluster.kubectl(['-n', namespace, 'rollout', 'undo', process]);
    }
  }

  /** The images that its pods run, each once. */
  async images(): Promise<string[]> {
    const path = 'jsonpath={range .items[*]}{.spec.containers[*].image}{" "}{end}';
    const label = 'app.kubernetes.io/name in (countersign-ca,countersign-controller,countersign-agent)';
    const images = await this.#cluster.kubectl([
      'get',
      'pods',
      '-A',
      '-l',
      label,
      '--field-selector=status.phase=Running',
      '-o',
      path,
    ]);
    return [...new Set(images.trim().split(' '))];
  }

  /** Every object in the cluster with Countersign in its name, as `kind/name`; Events aside, which end by themselves. */
  async remains(): Promise<string[]> {
    const kinds = (await this.#cluster.kubectl(['api-resources', '--verbs=list', '-o', 'name'])).trim().split('\n');
    const listed = kinds.filter((kind) => !kind.startsWith('events')).join(',');
    const objects = await this.#cluster.kubectl(['get', listed, '-A', '--ignore-not-found', '-o', 'name']);
    const drivers = await this.#cluster.kubectl(['get', 'csinodes', '-o', 'jsonpath={.items[*].spec.drivers[*].name}']);
    return [...objects.trim().split('\n'), ...drivers.split(' ')].filter((name) => name.includes('countersign'));
  }

  /** Restarts one process as an upgrade does, and waits until it is ready again. */
  async restart(process: keyof typeof PROCESSES): Promise<void> {
    const [namespace, name] = PROCESSES[process];
    await this.#cluster.kubectl(['-n', namespace, 'rollout', 'restart', name]);
    await this.#cluster.kubectl(['-n', namespace, 'rollout', 'status', name, '--timeout=120s']);
  }

  /** Ends the node's agent at once; its DaemonSet brings another. */
  async killAgent(): Promise<void> {
    await this.#cluster.kubectl(['-n', AGENTS, 'delete', 'pod', '--all', '--grace-period=0', '--force']);
  }

  /** Runs `countersign ARGS` of those that administer a CA, beside it, on its private socket. */
  async countersign(args: readonly string[], input = ''): Promise<string> {
    const command = ['/usr/bin/node', '/opt/countersign/dist/countersign.js', ...args];
    const socket = ['--socket', 'unix:/run/countersign/admin.sock'];
    return this.#cluster.kubectl(['-n', SYSTEM, 'exec', '-i', 'countersign-ca-0', '--', ...command, ...socket], input);
  }

  /** The identity of the agent of the one node. */
  async agentId(): Promise<string> {
    const uid = await this.#cluster.kubectl(['get', 'node', '-o', 'jsonpath={.items[0].metadata.uid}']);
    return `spiffe://cluster.local/spire/agent/k8s_psat/main/${uid}`;
  }

  /** Registers an identity by hand, for pods that no resource selects. */
  async register(path: string, selectors: readonly string[]): Promise<void> {
    const id = ['--spiffe-id', `spiffe://cluster.local${path}`, '--parent-id', await this.agentId()];
    await this.countersign(['entry', 'create', ...id, ...selectors.flatMap((selector) => ['--selector', selector])]);
  }
}

async function noteOf(cluster: Cluster): Promise<string> {
  const path = `jsonpath={.metadata.annotations['${IMAGE_NOTE.replaceAll('.', '\\.')}']}`;
  return cluster.kubectl(['get', 'namespace', SYSTEM, '--ignore-not-found', '-o', path]);
}
