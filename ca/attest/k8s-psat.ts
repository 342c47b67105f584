import { IdentityError } from '../../core/errors.ts';
import { createSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import type { PsatClusterConfig } from '../kubernetes/config.ts';
import { verifyPodToken, type NodeFacts, type PodIdentity } from '../kubernetes/pod-token.ts';
import type { Selector } from '../model.ts';
import type { Attestation, NodeAttestor } from './node-attestor.ts';

/** The type that agents and their records name; SPIRE's. */
export const K8S_PSAT = 'k8s_psat';

/** A cluster whose agents may attest, and which of them. */
export interface PsatCluster extends PsatClusterConfig {
  readonly cluster: Cluster;
}

// Room for the largest token, and for the JSON around it.
const MAX_PAYLOAD_BYTES = 48 * 1024;

/**
 * Attests a node by the projected service-account token of its agent's pod, as SPIRE's `k8s_psat` does: the API server reviews
 * the token, and the pod and its node are looked up. The node's UID names the agent, so its pod may come and go.
 */
export function createK8sPsatAttestor({
  trustDomain,
  clusters,
}: {
  readonly trustDomain: TrustDomain;
  /** By name. */
  readonly clusters: ReadonlyMap<string, PsatCluster>;
}): NodeAttestor {
  return {
    type: K8S_PSAT,
    // oxlint-disable-next-line require-yield -- the API server vouches for the token: there is nothing to challenge
    async *attest(payload): Attestation {
      const { cluster: name, token } = parsePayload(payload);
      const psat = clusters.get(name);
      if (psat === undefined) {
        const known = 'attestors.k8sPsat.clusters of the CA does not have it';
        throw new IdentityError('invalid_argument', `not configured for cluster ${JSON.stringify(name.slice(0, 64))}: ${known}`, {
          field: 'payload.cluster',
        });
      }
      const admits = (account: string): boolean => psat.serviceAccounts.includes(account);
      const { pod, node } = await verifyPodToken(psat.cluster, { token, audiences: psat.audience, admits });
      const agentId = k8sPsatAgentId(trustDomain, name, node.uid);
      return { agentId, selectors: selectorsOf(psat, pod, node), canReattest: true };
    },
  };
}

/** The ID of the agent on a node. @throws IdentityError `invalid_argument` when the cluster's name cannot stand in an ID */
export function k8sPsatAgentId(trustDomain: TrustDomain, cluster: string, nodeUid: string): SpiffeId {
  return createSpiffeId(trustDomain, ['spire', 'agent', K8S_PSAT, cluster, nodeUid], 'cluster');
}

function selectorsOf(psat: PsatCluster, pod: PodIdentity, node: NodeFacts): readonly Selector[] {
  const labels = (kind: string, all: Readonly<Record<string, string>>, allowed: readonly string[]): string[] =>
    Object.entries(all).flatMap(([key, value]) => (allowed.includes(key) ? [`${kind}:${key}:${value}`] : []));
  const values = [
    `cluster:${psat.cluster.name}`,
    `agent_ns:${pod.namespace}`,
    `agent_sa:${pod.serviceAccount}`,
    `agent_pod_name:${pod.podName}`,
    `agent_pod_uid:${pod.podUid}`,
    `agent_node_ip:${pod.nodeIp}`,
    `agent_node_name:${pod.nodeName}`,
    `agent_node_uid:${node.uid}`,
    ...labels('agent_node_label', node.labels, psat.allowedNodeLabelKeys),
    ...labels('agent_pod_label', pod.podLabels, psat.allowedPodLabelKeys),
  ];
  return values.map((value) => ({ type: K8S_PSAT, value }));
}

function parsePayload(payload: Uint8Array): { readonly cluster: string; readonly token: string } {
  if (payload.length > MAX_PAYLOAD_BYTES) throw invalid(`is larger than ${MAX_PAYLOAD_BYTES} bytes`, 'payload');
  const json = parseJson(payload);
  const text = (name: 'cluster' | 'token'): string => {
    const value = json[name];
    if (typeof value === 'string' && value !== '') return value;
    throw invalid('is missing', `payload.${name}`);
  };
  return { cluster: text('cluster'), token: text('token') };
}

function parseJson(payload: Uint8Array): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload).toString('utf8'));
  } catch {
    // No cause: it would quote the token.
    throw invalid('is no valid JSON', 'payload');
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw invalid('must be a JSON object', 'payload');
}

function invalid(message: string, field: string): IdentityError {
  return new IdentityError('invalid_argument', message, { field });
}
