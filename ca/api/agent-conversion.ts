import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AgentMask, AgentSchema } from '../../proto/gen/spire/api/types/agent_pb.ts';
import type { Agent } from '../model.ts';
import { idToProto } from './id-conversion.ts';
import { selectorsToProto } from './selector-conversion.ts';

/** The fields of an agent's message that the mask names, all without one; the ID always. */
export function agentToProto(agent: Agent, mask?: AgentMask): MessageInitShape<typeof AgentSchema> {
  const all = mask === undefined;
  const proto: MessageInitShape<typeof AgentSchema> = { id: idToProto(agent.id) };
  if (all || mask.attestationType) proto.attestationType = agent.attestationType;
  if (all || mask.x509svidSerialNumber) proto.x509svidSerialNumber = agent.serialNumber;
  if (all || mask.x509svidExpiresAt) proto.x509svidExpiresAt = BigInt(Math.floor(agent.expiresAtMs / 1000));
  if (all || mask.selectors) proto.selectors = selectorsToProto(agent.selectors);
  if (all || mask.banned) proto.banned = agent.banned;
  if (all || mask.canReattest) proto.canReattest = agent.canReattest;
  if (all || mask.agentVersion) proto.agentVersion = agent.agentVersion;
  return proto;
}
