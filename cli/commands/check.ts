import type { CommandSpec } from '../command.ts';
import { CA_OPTIONS } from '../ca-connection.ts';

/** What a platform engineer runs first and last. */
export const CHECK_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['check'],
    summary: 'Look at a whole installation: what is well, what is not, and what to do',
    options: {
      kubeconfig: { value: 'FILE', summary: 'the cluster to look at; else $KUBECONFIG, else ~/.kube/config' },
      context: { value: 'NAME', summary: 'a context of the kubeconfig; else its current one' },
      namespace: { value: 'NAME', summary: 'where the CA and the controller are; countersign-system unless given' },
      'agent-namespace': { value: 'NAME', summary: 'where the agents are; countersign-agents unless given' },
      ...CA_OPTIONS,
      subject: { value: 'TEXT', summary: 'what to call the CA in the findings, with --socket, --config or --server' },
      output: { value: 'text|json', summary: 'how to print the findings; text unless given' },
    },
    examples: ['countersign check', 'countersign check --context production', 'countersign check --socket ./run/ca/admin.sock'],
    load: async () => (await import('../run/check.ts')).check,
  },
];
