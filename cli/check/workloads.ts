import type { V1DaemonSet, V1Deployment, V1StatefulSet } from '@kubernetes/client-node';

import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { DAEMON_SETS, DEPLOYMENTS, STATEFUL_SETS } from '../../runtime/kubernetes/resource-types.ts';
import type { ClusterAccess, InstalledPod } from './cluster-access.ts';
import type { Finding } from './finding.ts';

/** The pods of each part of the installation. */
export interface InstalledPods {
  readonly cas: readonly InstalledPod[];
  readonly controllers: readonly InstalledPod[];
  readonly agents: readonly InstalledPod[];
}

/** Finds the pods of the installation. */
export async function findPods(cluster: ClusterAccess): Promise<InstalledPods> {
  const { systemNamespace, agentNamespace } = cluster.installation;
  const [cas, controllers, agents] = await Promise.all([
    cluster.pods('countersign-ca', systemNamespace),
    cluster.pods('countersign-controller', systemNamespace),
    cluster.pods('countersign-agent', agentNamespace),
  ]);
  return { cas, controllers, agents };
}

/** Whether each part is there and has as many ready pods as it wants, and whether all run one image. */
export async function workloadFindings(cluster: ClusterAccess, pods: InstalledPods): Promise<readonly Finding[]> {
  const { systemNamespace, agentNamespace } = cluster.installation;
  const { client } = cluster;
  const [ca, controller, agent] = await Promise.all([
    client.find<V1StatefulSet & KubeObject>(STATEFUL_SETS, { namespace: systemNamespace, name: 'countersign-ca' }),
    client.find<V1Deployment & KubeObject>(DEPLOYMENTS, { namespace: systemNamespace, name: 'countersign-controller' }),
    client.find<V1DaemonSet & KubeObject>(DAEMON_SETS, { namespace: agentNamespace, name: 'countersign-agent' }),
  ]);
  return [
    countFinding('ca', ca && [ca.status?.readyReplicas ?? 0, ca.spec?.replicas ?? 1]),
    countFinding('controller', controller && [controller.status?.readyReplicas ?? 0, controller.spec?.replicas ?? 1]),
    countFinding('agent', agent && [agent.status?.numberReady ?? 0, agent.status?.desiredNumberScheduled ?? 0]),
    ...[...pods.cas, ...pods.controllers, ...pods.agents].filter(({ ready }) => !ready).map(notReady),
    imageFinding(pods),
  ];
}

function countFinding(subject: string, counts: readonly [number, number] | undefined): Finding {
  if (counts === undefined) {
    return {
      level: 'error',
      subject,
      text: 'is not installed',
      remedy: 'kubectl apply -k an overlay of manifests/, or name its namespace',
    };
  }
  const [ready, wanted] = counts;
  if (wanted === 0) {
    return {
      level: 'error',
      subject,
      text: 'runs nowhere: no pod is wanted',
      remedy: 'scale it up, or see why no node takes it',
    };
  }
  const text = `${ready} of ${wanted} pods are ready`;
  return ready >= wanted ? { level: 'ok', subject, text } : { level: 'error', subject, text, remedy: 'see the pods below' };
}

function notReady({ namespace, name, nodeName, why }: InstalledPod): Finding {
  const where = nodeName === '' ? '' : ` on ${nodeName}`;
  return {
    level: 'error',
    subject: `pod ${name}`,
    text: `is not ready${where}: ${why}`,
    remedy: `kubectl -n ${namespace} logs ${name} --all-containers`,
  };
}

function imageFinding({ cas, controllers, agents }: InstalledPods): Finding {
  const images = [...new Set([...cas, ...controllers, ...agents].flatMap((pod) => pod.images))].sort();
  const subject = 'versions';
  if (images.length === 0) return { level: 'unknown', subject, text: 'there is no pod to ask' };
  if (images.length === 1) return { level: 'ok', subject, text: `all pods run ${images[0]}` };
  const remedy = 'during a rolling update this passes; otherwise apply the manifests again';
  return { level: 'warning', subject, text: `pods run different images: ${images.join(', ')}`, remedy };
}
