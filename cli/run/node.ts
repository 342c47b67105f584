import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { Agent as AgentService } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import type { Agent } from '../../proto/gen/spire/api/types/agent_pb.ts';
import { connectCa } from '../ca-connection.ts';
import type { CommandRun } from '../command.ts';
import { formatWireId, ttlOfOption, wireId } from '../entry-fields.ts';
import { formatSeconds, printRows, type Row } from '../output.ts';

const DEFAULT_TOKEN_TTL_SECONDS = 600;

/** `countersign token` */
export const generateToken: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const alias = invocation.text('spiffe-id');
  const token = await connection.client(AgentService).createJoinToken({
    ttl: ttlOfOption(invocation, 'ttl') ?? DEFAULT_TOKEN_TTL_SECONDS,
    ...(alias === undefined ? {} : { agentId: wireId(alias) }),
  });
  const file = invocation.text('write-to');
  if (file !== undefined) {
    await writeFile(resolve(invocation.terminal.cwd, file), `${token.value}\n`, { mode: 0o600 });
    invocation.terminal.write(`wrote a join token to ${file}; it works once, until ${formatSeconds(token.expiresAt)}\n`);
  } else if (invocation.text('output') === undefined) {
    invocation.terminal.write(`${token.value}\n`);
  } else {
    await printRows(invocation, [{ token: token.value, expiresAt: formatSeconds(token.expiresAt) }]);
  }
  return 0;
};

/** `countersign agent list` */
export const listAgents: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const client = connection.client(AgentService);
  const agents: Agent[] = [];
  let pageToken = '';
  do {
    const page = await client.listAgents({ pageSize: 1000, pageToken });
    agents.push(...page.agents);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  await printRows(invocation, agents.map(rowOfAgent), 'blocks');
  return 0;
};

/** `countersign agent show` */
export const showAgent: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const agent = await connection.client(AgentService).getAgent({ id: wireId(invocation.requiredText('spiffe-id')) });
  await printRows(invocation, [rowOfAgent(agent)], 'blocks');
  return 0;
};

/** `countersign agent count` */
export const countAgents: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const { count } = await connection.client(AgentService).countAgents({});
  invocation.terminal.write(`${count}\n`);
  return 0;
};

/** `countersign agent ban` */
export const banAgent: CommandRun = async (invocation) => {
  const id = invocation.requiredText('spiffe-id');
  using connection = await connectCa(invocation);
  await connection.client(AgentService).banAgent({ id: wireId(id) });
  invocation.terminal.write(`banned ${id}; its node gets no identity until somebody evicts it\n`);
  return 0;
};

/** `countersign agent evict` */
export const evictAgent: CommandRun = async (invocation) => {
  const id = invocation.requiredText('spiffe-id');
  using connection = await connectCa(invocation);
  await connection.client(AgentService).deleteAgent({ id: wireId(id) });
  invocation.terminal.write(`evicted ${id}; it must attest again\n`);
  return 0;
};

function rowOfAgent(agent: Agent): Row {
  return {
    spiffeId: formatWireId(agent.id),
    attestationType: agent.attestationType,
    serialNumber: agent.x509svidSerialNumber,
    expiresAt: formatSeconds(agent.x509svidExpiresAt),
    selector: agent.selectors.map(({ type, value }) => `${type}:${value}`),
    banned: agent.banned,
    canReattest: agent.canReattest,
    version: agent.agentVersion === '' ? undefined : agent.agentVersion,
  };
}
