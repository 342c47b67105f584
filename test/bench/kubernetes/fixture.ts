// What a cluster of the benchmark's size holds: nodes, namespaces, pods as a Deployment makes them, and identities.
import type { KubeObject } from '../../../runtime/kubernetes/object.ts';
import type { ResourceType } from '../../../runtime/kubernetes/resource-types.ts';

export const NODES_COUNT = 500;
export const NAMESPACES_COUNT = 100;
export const IDENTITIES_COUNT = 200;

export const IDENTITIES: ResourceType = {
  group: 'countersign.dev',
  version: 'v1alpha1',
  kind: 'ClusterWorkloadIdentity',
  plural: 'clusterworkloadidentities',
  namespaced: false,
};

export const nodeName = (index: number): string => `node-${index % NODES_COUNT}`;
export const namespaceName = (index: number): string => `team-${index % NAMESPACES_COUNT}`;
/** Which identity selects the pod at an index: each pod is selected by one. */
export const appName = (index: number): string => `app-${index % IDENTITIES_COUNT}`;

/** The label that {@link everyPodIdentity} selects by. */
const EVERY = { 'bench.countersign.dev/pod': 'yes' };

/** One identity for the pods of one application, in all namespaces. */
export function identity(index: number): KubeObject {
  return {
    metadata: { name: `identity-${index}` },
    spec: {
      spiffeIDTemplate: `spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}/{{ index .PodMeta.Labels "app" }}`,
      podSelector: { matchLabels: { app: appName(index) } },
      dnsNameTemplates: ['{{ .PodMeta.Name }}.{{ .PodMeta.Namespace }}.pod'],
      ttl: '1h',
    },
  };
}

/** An identity of its own for every pod, by one resource. */
export function everyPodIdentity(): KubeObject {
  return {
    metadata: { name: 'every-pod' },
    spec: {
      spiffeIDTemplate: `spiffe://{{ .TrustDomain }}/pod/{{ .PodMeta.Namespace }}/{{ .PodMeta.Name }}`,
      podSelector: { matchLabels: EVERY },
    },
  };
}

/** What tells pods of the benchmark apart. */
export interface PodPlace {
  readonly index: number;
  /** Bound from the start; absent, it waits for the benchmark to bind it. */
  readonly node?: string;
  /** Whether {@link everyPodIdentity} selects it too. */
  readonly every?: boolean;
  /** Part of its name. */
  readonly group?: string;
}

/** A pod of some 4 kB, as a Deployment with a sidecar makes it. */
export function pod({ index, node, every = true, group = 'pod' }: PodPlace): KubeObject {
  const name = `${group}-${index}`;
  const app = appName(index);
  return {
    metadata: {
      name,
      namespace: namespaceName(index),
      labels: {
        app,
        'app.kubernetes.io/name': app,
        'app.kubernetes.io/part-of': 'bench',
        'pod-template-hash': '5d8f7c9b6',
        version: 'v1',
        ...(every ? EVERY : {}),
      },
      annotations: {
        'prometheus.io/scrape': 'true',
        'prometheus.io/port': '9090',
        'checksum/config': '0f343b0931126a20f133d67c2b018a3b5e3c5f7d6f4e0a1b2c3d4e5f60718293',
      },
      ownerReferences: [
        {
          apiVersion: 'apps/v1',
          kind: 'ReplicaSet',
          name: `${app}-5d8f7c9b6`,
          uid: `00000000-0000-4000-8000-${String(index % IDENTITIES_COUNT).padStart(12, '0')}`,
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    spec: {
      serviceAccountName: `sa-${index % 10}`,
      ...(node === undefined ? {} : { nodeName: node }),
      containers: [container('main', 8080), container('sidecar', 15_090)],
      volumes: [
        { name: 'config', configMap: { name: `${app}-config` } },
        { name: 'spiffe', csi: { driver: 'csi.countersign.dev', readOnly: true } },
      ],
      tolerations: [{ key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 }],
    },
  };
}

function container(name: string, port: number): Record<string, unknown> {
  return {
    name,
    image: `registry.example.test/team/${name}:1.2.3`,
    args: ['--config', '/etc/app/config.yaml', '--log-level', 'info'],
    ports: [{ name: 'http', containerPort: port }],
    env: ['POD_NAME', 'POD_NAMESPACE', 'POD_IP'].map((variable, at) => ({
      name: variable,
      valueFrom: { fieldRef: { fieldPath: ['metadata.name', 'metadata.namespace', 'status.podIP'][at] } },
    })),
    resources: { requests: { cpu: '10m', memory: '32Mi' }, limits: { memory: '64Mi' } },
    volumeMounts: [
      { name: 'config', mountPath: '/etc/app' },
      { name: 'spiffe', mountPath: '/spiffe-workload-api', readOnly: true },
    ],
    readinessProbe: { httpGet: { path: '/ready', port }, periodSeconds: 10 },
    securityContext: { runAsNonRoot: true, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
  };
}
