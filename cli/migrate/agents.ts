// Agents: which of SPIRE's have moved, what stands in the way of the others, and when nothing of SPIRE's can live any longer.
import { Agent as AgentService } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import type { Agent } from '../../proto/gen/spire/api/types/agent_pb.ts';
import type { Entry } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { formatWireId } from '../entry-fields.ts';

/** Where one of SPIRE's agents stands. */
export interface AgentFinding {
  readonly agent: Agent;
  readonly id: string;
  /** `gone`: its SVID at SPIRE has run out and it is not here. */
  readonly state: 'moved' | 'at SPIRE' | 'banned' | 'gone';
  /** What its move takes. */
  readonly advice: string;
}

const ADVICE: Readonly<Record<string, string>> = {
  k8s_psat: 'attestor: { k8sPsat: { cluster: NAME } }, and the cluster of that name in the CA’s attestors.k8sPsat',
  x509pop: 'attestor: { x509pop: { certFile: FILE, keyFile: FILE } }, and its issuer in the CA’s attestors.x509pop',
  join_token: 'a new token (countersign token --write-to FILE); its ID changes, so entries need an alias as parent',
};

/** Every agent of a server. */
export async function allAgents(connection: GrpcConnection): Promise<readonly Agent[]> {
  const agents: Agent[] = [];
  let pageToken = '';
  do {
    const page = await connection.client(AgentService).listAgents({ pageSize: 500, pageToken });
    agents.push(...page.agents);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return agents;
}

/** Sets SPIRE's agents beside ours. */
export function compareAgents(spire: readonly Agent[], ours: readonly Agent[], nowMs: number): readonly AgentFinding[] {
  const here = new Map(ours.map((agent) => [formatWireId(agent.id), agent]));
  return spire.map((agent) => {
    const id = formatWireId(agent.id);
    const known = here.get(id);
    const advice =
      ADVICE[agent.attestationType] ?? `countersign's CA has no attestor ${agent.attestationType}: choose another for this node`;
    return { agent, id, state: stateOf(agent, known, nowMs), advice };
  });
}

function stateOf(agent: Agent, here: Agent | undefined, nowMs: number): AgentFinding['state'] {
  if (agent.banned || here?.banned === true) return 'banned';
  const isLive = (each: Agent): boolean => Number(each.x509svidExpiresAt) * 1000 > nowMs;
  if (here !== undefined && isLive(here)) return 'moved';
  return isLive(agent) ? 'at SPIRE' : 'gone';
}

/** SPIRE's longest lifetime of an SVID unless an entry says more (its `default_x509_svid_ttl`). */
export const SPIRE_DEFAULT_TTL_SECONDS = 3600;

/**
 * When the last SVID ends that SPIRE may sign for these agents: an agent asks for SVIDs until its own runs out, and each then
 * lives for up to the longest lifetime.
 *
 * @returns Unix seconds; 0 when there is no agent
 */
export function spireSvidsEndAt(agents: readonly Agent[], longestTtlSeconds: number): number {
  const lastAsk = agents.reduce((latest, { x509svidExpiresAt }) => Math.max(latest, Number(x509svidExpiresAt)), 0);
  return lastAsk === 0 ? 0 : lastAsk + longestTtlSeconds;
}

/** The longest lifetime of an SVID by these entries. */
export function longestTtlOf(entries: readonly Entry[], defaultTtlSeconds: number): number {
  return entries.reduce((most, { x509SvidTtl, jwtSvidTtl }) => Math.max(most, x509SvidTtl, jwtSvidTtl), defaultTtlSeconds);
}
