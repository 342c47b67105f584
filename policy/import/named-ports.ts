import type { ForeignResource } from './foreign.ts';

interface Template {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, unknown>>;
  readonly ports: ReadonlyMap<string, number>;
}

/** Names of container ports, as the workloads among the documents give them. */
export class NamedPorts {
  readonly #templates: readonly Template[];

  constructor(resources: readonly ForeignResource[]) {
    this.#templates = resources.map(templateOf).filter((each) => each !== undefined);
  }

  /** The numbers that a name stands for on the pods with these labels; empty where no such pod is known. */
  find(namespace: string, matchLabels: Readonly<Record<string, string>>, name: string): readonly number[] {
    const templates = this.#templates.filter(
      (each) => each.namespace === namespace && Object.entries(matchLabels).every(([key, value]) => each.labels[key] === value),
    );
    const numbers = templates.map(({ ports }) => ports.get(name)).filter((each) => each !== undefined);
    return [...new Set(numbers)].sort((one, other) => one - other);
  }
}

const WORKLOADS = new Set(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job', 'Pod']);

// Any of it may be missing or something else: a file of manifests is not checked here, it is only looked into.
function templateOf({ kind, namespace, spec, labels }: ForeignResource): Template | undefined {
  if (!WORKLOADS.has(kind)) return undefined;
  const template: unknown = kind === 'Pod' ? { metadata: { labels }, spec } : Object(spec).template;
  const { metadata, spec: podSpec } = Object(template);
  const containers: unknown[] = [Object(podSpec).containers, Object(podSpec).initContainers].flat();
  const ports = containers.flatMap((container): unknown[] => [Object(container).ports].flat());
  const named = ports.flatMap((port): [string, number][] => {
    const { name, containerPort } = Object(port);
    return typeof name === 'string' && typeof containerPort === 'number' ? [[name, containerPort]] : [];
  });
  return { namespace, labels: Object(Object(metadata).labels), ports: new Map(named) };
}
