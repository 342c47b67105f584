// Pods and Deployments of the cluster tests, as JSON objects that `kubectl apply` takes.
import { randomBytes } from 'node:crypto';

import type { Cluster } from './cluster.ts';

/** A pod of a test; what is left out is plain. */
export interface TestPod {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly serviceAccount?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Further fields of the container. */
  readonly container?: Readonly<Record<string, unknown>>;
  /** Further fields of the pod's spec. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

const NEVER_ENDS =
  'setInterval(() => {}, 1 << 30); for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit());';

/** A command of the workload image that does nothing until it is told to end. */
export const IDLE: readonly string[] = ['/usr/bin/node', '-e', NEVER_ENDS];

/** The template of a pod, as Deployments and DaemonSets take it as well. */
export function podTemplate({ name, image, command, serviceAccount = 'default', labels, container, spec }: TestPod): {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly spec: Readonly<Record<string, unknown>>;
} {
  return {
    metadata: { labels: { app: name, ...labels } },
    spec: {
      serviceAccountName: serviceAccount,
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image, command, ...container }],
      ...spec,
    },
  };
}

export function podObject(pod: TestPod): object {
  const { metadata, spec } = podTemplate(pod);
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name: pod.name, ...metadata }, spec };
}

/** A Deployment whose pods are labelled `app: <name>`. */
export function deploymentObject(pod: TestPod, replicas: number): object {
  const selector = { matchLabels: { app: pod.name } };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: pod.name },
    spec: { replicas, selector, template: podTemplate(pod) },
  };
}

export function serviceObject(name: string, port: number): object {
  return { apiVersion: 'v1', kind: 'Service', metadata: { name }, spec: { selector: { app: name }, ports: [{ port }] } };
}

/** A namespace of one test, gone when disposed of. */
export class TestNamespace implements AsyncDisposable {
  readonly name: string;
  readonly #cluster: Cluster;

  private constructor(cluster: Cluster, name: string) {
    this.#cluster = cluster;
    this.name = name;
  }

  /** Makes it, and waits until pods may be made in it. */
  static async create(cluster: Cluster, name: string, labels: Readonly<Record<string, string>> = {}): Promise<TestNamespace> {
    const namespace = new TestNamespace(cluster, name);
    await cluster.applyYaml(JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }));
    await cluster.kubectl(['wait', '-n', name, '--for=create', 'serviceaccount/default', '--timeout=30s']);
    return namespace;
  }

  /** The same, with a name that no earlier run on this cluster had. */
  static fresh(cluster: Cluster, prefix: string, labels?: Readonly<Record<string, string>>): Promise<TestNamespace> {
    return TestNamespace.create(cluster, `${prefix}-${randomBytes(3).toString('hex')}`, labels);
  }

  async apply(...objects: readonly object[]): Promise<void> {
    await this.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
  }

  async kubectl(args: readonly string[], input?: string): Promise<string> {
    return this.#cluster.kubectl(['-n', this.name, ...args], input);
  }

  /** Waits until a pod, such as `pod/web` or `-l app=web`, is ready. */
  async ready(...which: readonly string[]): Promise<void> {
    await this.kubectl(['wait', '--for=condition=Ready', '--timeout=90s', ...(which[0] === '-l' ? ['pod', ...which] : which)]);
  }

  /** Waits until a Deployment, StatefulSet or DaemonSet is what it should be. */
  async rolledOut(workload: string): Promise<void> {
    await this.kubectl(['rollout', 'status', workload, '--timeout=90s']);
  }

  /** Runs a command in a pod. @returns its standard output */
  async exec(pod: string, command: readonly string[], container = 'main'): Promise<string> {
    return this.kubectl(['exec', pod, '-c', container, '--', ...command]);
  }

  /** One value of an object, by JSONPath without the braces. */
  async read(object: string, path: string): Promise<string> {
    return this.kubectl(['get', object, '-o', `jsonpath={${path}}`]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nobody waits for its end: the next test has another name.
    await this.#cluster.kubectl(['delete', 'namespace', this.name, '--wait=false', '--ignore-not-found']);
  }
}
