import { CA_OPTIONS } from '../ca-connection.ts';
import type { CommandSpec, OptionSpec } from '../command.ts';
import { OUTPUT_OPTION } from '../output.ts';

const AGENT_ID: Readonly<Record<'spiffe-id', OptionSpec>> = {
  'spiffe-id': { value: 'ID', summary: "the agent's SPIFFE ID", required: true },
};
/** The ID may be written without its option. */
const POSITIONAL_ID = { positionals: '[ID]', positionalOption: 'spiffe-id' } as const;

/** Join tokens and attested agents. */
export const NODE_COMMANDS: readonly CommandSpec[] = [
  {
    // `spire-server token generate` has a second word.
    path: ['token'],
    idleWord: 'generate',
    summary: 'Make a join token, with which one agent may attest once',
    options: {
      ttl: { value: 'TTL', summary: 'how long it can be used; 10m unless given' },
      'spiffe-id': { value: 'ID', summary: 'a further identity for the node, as the parent of entries' },
      'write-to': { value: 'FILE', summary: 'write it to this file (mode 0600) instead of printing it' },
      ...CA_OPTIONS,
      ...OUTPUT_OPTION,
    },
    examples: ['countersign token --write-to ./token', 'countersign token --spiffe-id spiffe://example.org/node/web --ttl 1h'],
    load: async () => (await import('../run/node.ts')).generateToken,
  },
  {
    path: ['agent', 'list'],
    summary: 'List the attested agents',
    options: { ...CA_OPTIONS, ...OUTPUT_OPTION },
    examples: ['countersign agent list', 'countersign agent list --output json'],
    load: async () => (await import('../run/node.ts')).listAgents,
  },
  {
    path: ['agent', 'show'],
    summary: 'Show one attested agent',
    ...POSITIONAL_ID,
    options: { ...AGENT_ID, ...CA_OPTIONS, ...OUTPUT_OPTION },
    examples: ['countersign agent show --spiffe-id spiffe://example.org/spire/agent/join_token/TOKEN'],
    load: async () => (await import('../run/node.ts')).showAgent,
  },
  {
    path: ['agent', 'count'],
    summary: 'Count the attested agents',
    options: CA_OPTIONS,
    examples: ['countersign agent count'],
    load: async () => (await import('../run/node.ts')).countAgents,
  },
  {
    path: ['agent', 'ban'],
    summary: 'Cut an agent off for good: it gets nothing more and cannot attest again',
    ...POSITIONAL_ID,
    options: { ...AGENT_ID, ...CA_OPTIONS },
    examples: ['countersign agent ban --spiffe-id spiffe://example.org/spire/agent/join_token/TOKEN'],
    load: async () => (await import('../run/node.ts')).banAgent,
  },
  {
    path: ['agent', 'evict'],
    summary: 'Forget an agent: it must attest again',
    ...POSITIONAL_ID,
    options: { ...AGENT_ID, ...CA_OPTIONS },
    examples: ['countersign agent evict --spiffe-id spiffe://example.org/spire/agent/join_token/TOKEN'],
    load: async () => (await import('../run/node.ts')).evictAgent,
  },
];
