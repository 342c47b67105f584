import { randomUUID } from 'node:crypto';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Agent as AgentService } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import type { CreateJoinTokenRequest, RenewAgentRequest } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import type { SPIFFEID } from '../../proto/gen/spire/api/types/spiffeid_pb.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import { describePeer, type Peer } from '../../runtime/peer.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { aliasEntry, isAliasOf, joinTokenAgentId } from '../attest/join-token.ts';
import type { Agent, AgentChange } from '../model.ts';
import type { Mutation } from '../store/store.ts';
import { agentDenied, Reason } from './agent-access.ts';
import { attestAgent, type AttestOptions } from './agent-attestation.ts';
import { agentToProto } from './agent-conversion.ts';
import { commit, type ApiContext } from './api-context.ts';
import { callerId } from './authorizer.ts';
import { ownIdFromProto } from './id-conversion.ts';
import { attempt, during } from './item-status.ts';
import { agentFilterFromProto, pageFromProto } from './list-filters.ts';
import { x509SvidToProto } from './svid-conversion.ts';

const MAX_VERSION_LENGTH = 255;

/** `spire.api.server.agent.v1.Agent`: node agents and how they come to be. */
export function agentService(options: AttestOptions): ServiceHandlers<typeof AgentService, Peer> {
  const { registry, limits } = options;
  return {
    countAgents: ({ filter }) => ({ count: registry.agents.count(agentFilterFromProto(filter)) }),
    listAgents: (request) => {
      const { items, nextToken } = registry.agents.list(agentFilterFromProto(request.filter), pageFromProto(request));
      return { agents: items.map((agent) => agentToProto(agent, request.outputMask)), nextPageToken: nextToken };
    },
    getAgent: ({ id, outputMask }) => {
      const agent = registry.agents.get(readAgentId(options, id));
      if (agent === undefined) throw new IdentityError('not_found', 'agent not found');
      return agentToProto(agent, outputMask);
    },
    deleteAgent: ({ id }) => deleteAgent(options, readAgentId(options, id)),
    banAgent: async ({ id }) => {
      const banned: AgentChange = { banned: true, serialNumber: '', nextSerialNumber: '', nextExpiresAtMs: 0 };
      const agentId = readAgentId(options, id);
      await updateAgent(options, agentId, banned);
      options.log.info({ agentId: agentId.toString() }, 'agent banned');
      return {};
    },
    attestAgent: (requests, call) => attestAgent(options, requests, call),
    renewAgent: async (request, call) => {
      await limits.take(call, 'x509Signing');
      return renewAgent(options, request, call);
    },
    postStatus: async ({ agentVersion }, call) => {
      await limits.take(call, 'status');
      if (Buffer.byteLength(agentVersion) > MAX_VERSION_LENGTH) {
        throw new IdentityError('invalid_argument', `agent version is too long (max ${MAX_VERSION_LENGTH} characters)`, {
          field: 'agent_version',
        });
      }
      const id = callerId(call);
      const known = registry.agents.get(id)?.agentVersion;
      if (agentVersion !== '' && agentVersion !== known) await updateAgent(options, id, { agentVersion });
      return {};
    },
    createJoinToken: (request) => createJoinToken(options, request),
  };
}

function readAgentId({ trustDomain }: ApiContext, id: SPIFFEID | undefined): SpiffeId {
  return attempt('invalid agent ID', () => ownIdFromProto(id, trustDomain, 'agent', 'id'));
}

async function updateAgent(context: ApiContext, id: SpiffeId, change: AgentChange): Promise<void> {
  await orAgentNotFound('failed to update agent', () => commit(context, (tx) => tx.updateAgent(id, change)));
}

async function orAgentNotFound<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isIdentityError(error, 'not_found')) throw new IdentityError('not_found', 'agent not found', { cause: error });
    throw during(doing, error);
  }
}

async function deleteAgent(context: ApiContext, id: SpiffeId): Promise<Record<string, never>> {
  const remove = async (tx: Mutation): Promise<void> => {
    const agent = await tx.deleteAgent(id);
    for (const entryId of aliasesOf(context, agent)) await tx.deleteEntry(entryId);
  };
  await orAgentNotFound('failed to remove agent', () => commit(context, remove));
  context.log.info({ agentId: id.toString() }, 'agent deleted');
  return {};
}

function aliasesOf({ registry }: ApiContext, agent: Agent): readonly string[] {
  const { items } = registry.entries.list({ byParentId: agent.id });
  return items.filter((entry) => isAliasOf(agent, entry)).map(({ id }) => id);
}

async function renewAgent(context: ApiContext, { params }: RenewAgentRequest, call: Call<Peer>) {
  const id = callerId(call);
  const agent = context.registry.agents.get(id);
  if (agent === undefined) throw new IdentityError('not_found', 'agent not found');
  if (agent.canReattest) throw agentDenied(Reason.AGENT_MUST_REATTEST, 'agent must reattest instead of renew');
  if (params === undefined) throw new IdentityError('invalid_argument', 'params cannot be nil', { field: 'params' });
  if (params.csr.length === 0) throw new IdentityError('invalid_argument', 'missing CSR', { field: 'params.csr' });
  const issued = await context.issuer.issueAgentSvid({ csr: params.csr, spiffeId: id, caller: describePeer(call.peer) });
  await updateAgent(context, id, { nextSerialNumber: issued.serialNumber, nextExpiresAtMs: issued.expiresAtMs });
  return { svid: x509SvidToProto(issued) };
}

async function createJoinToken(context: ApiContext, request: CreateJoinTokenRequest) {
  const { ttl, token = randomUUID(), alias } = readJoinToken(context, request);
  const agentId = joinTokenAgentId(context.trustDomain, token);
  const expiresAtSeconds = Math.floor(context.clock.nowMs() / 1000) + ttl;
  try {
    await commit(context, async (tx) => {
      await tx.createJoinToken(token, expiresAtSeconds);
      if (alias !== undefined) await tx.createEntry(aliasEntry(agentId, alias));
    });
  } catch (error) {
    throw during('failed to create token', error);
  }
  return { value: token, expiresAt: BigInt(expiresAtSeconds) };
}

function readJoinToken({ trustDomain }: ApiContext, { ttl, token, agentId }: CreateJoinTokenRequest) {
  if (ttl < 1) throw new IdentityError('invalid_argument', 'ttl is required, you must provide one', { field: 'ttl' });
  const alias =
    agentId === undefined
      ? undefined
      : attempt('invalid agent ID', () => ownIdFromProto(agentId, trustDomain, 'workload', 'agent_id'));
  return { ttl, alias, ...(token === '' ? {} : { token }) };
}
