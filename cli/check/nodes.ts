import type { V1CSINode } from '@kubernetes/client-node';

import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { CSI_DRIVERS, CSI_NODES } from '../../runtime/kubernetes/resource-types.ts';
import { offsetFinding } from './ca-findings.ts';
import type { ClusterAccess, InstalledPod } from './cluster-access.ts';
import type { Finding } from './finding.ts';

const DRIVER = 'csi.countersign.dev';
const AGENT_PORT = 9980;
const AT_ONCE = 16;

/** Whether the CSI driver is registered at the kubelet of each node that runs an agent. */
export async function csiFindings(cluster: ClusterAccess, agents: readonly InstalledPod[]): Promise<readonly Finding[]> {
  const subject = `CSI driver ${DRIVER}`;
  if ((await cluster.client.find(CSI_DRIVERS, { name: DRIVER })) === undefined) {
    return [{ level: 'error', subject, text: 'is not defined', remedy: 'kubectl apply -k an overlay of manifests/' }];
  }
  const nodes = await cluster.all<V1CSINode & KubeObject>(CSI_NODES);
  const having = new Set(
    nodes.filter(({ spec }) => spec.drivers.some(({ name }) => name === DRIVER)).map(({ metadata }) => metadata.name),
  );
  const lacking = agents.map(({ nodeName }) => nodeName).filter((nodeName) => !having.has(nodeName));
  if (agents.length === 0) return [{ level: 'unknown', subject, text: 'no node runs an agent' }];
  if (lacking.length === 0) return [{ level: 'ok', subject, text: `registered on all ${agents.length} nodes with an agent` }];
  const text = `is not registered on ${lacking.slice(0, 5).join(', ')}${lacking.length > 5 ? ` and ${lacking.length - 5} more` : ''}`;
  return [{ level: 'error', subject, text, remedy: "see the log of the agents' container csi" }];
}

/** Whether each agent is ready by its own account, and whether its node's clock agrees with this machine's. */
export async function agentFindings(
  cluster: ClusterAccess,
  { agents, nowMs }: { readonly agents: readonly InstalledPod[]; readonly nowMs: () => number },
): Promise<readonly Finding[]> {
  const waiting = agents.filter(({ ready }) => ready);
  const bad: Finding[] = [];
  let well = 0;
  const worker = async (): Promise<void> => {
    for (let pod = waiting.pop(); pod !== undefined; pod = waiting.pop()) {
      const findings = await oneAgent(cluster, { pod, nowMs });
      if (findings.length === 0) well += 1;
      bad.push(...findings);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const subject = 'agents';
  if (agents.length === 0) return [{ level: 'unknown', subject, text: 'there is none to ask' }];
  if (well === 0) return bad.length > 0 ? bad : [{ level: 'unknown', subject, text: 'none is ready, so none was asked' }];
  return [{ level: 'ok', subject, text: `${well} of ${agents.length} are ready, their clocks agree` }, ...bad];
}

async function oneAgent(
  cluster: ClusterAccess,
  { pod, nowMs }: { readonly pod: InstalledPod; readonly nowMs: () => number },
): Promise<readonly Finding[]> {
  const subject = `agent ${pod.name} on ${pod.nodeName}`;
  try {
    const { dateMs } = await cluster.http(pod, AGENT_PORT, '/readyz');
    const offset = offsetFinding((dateMs ?? nowMs()) - nowMs(), (level, text, remedy) => {
      return { level, subject, text, ...(remedy === undefined ? {} : { remedy }) };
    });
    return offset.level === 'ok' ? [] : [offset];
  } catch (error) {
    const text = error instanceof Error ? error.message : 'does not answer';
    return [{ level: 'error', subject, text, remedy: `kubectl -n ${pod.namespace} logs ${pod.name} -c agent` }];
  }
}
