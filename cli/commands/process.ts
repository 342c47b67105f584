import type { CommandSpec, OptionSpec } from '../command.ts';
import { AGENT_OPTIONS, CA_OPTIONS } from '../ca-connection.ts';

const CONFIG: Readonly<Record<'config' | 'check-config', OptionSpec>> = {
  config: { value: 'FILE', summary: 'the configuration file (YAML); paths in it are relative to its folder', required: true },
  'check-config': { summary: 'read the configuration, report every fault, and stop' },
};

const WAIT: Readonly<Record<'wait', OptionSpec>> = {
  wait: { value: 'TIME', summary: 'wait so long for it to serve, such as 10s' },
};

/** The long-running processes and whether they are well. */
export const PROCESS_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['ca', 'run'],
    summary: 'Run the certificate authority',
    options: CONFIG,
    examples: ['countersign ca run --config ca.yaml', 'countersign ca run --config ca.yaml --check-config'],
    load: async () => (await import('../run/process.ts')).runCaProcess,
  },
  {
    path: ['agent', 'run'],
    summary: 'Run the node agent',
    options: CONFIG,
    examples: ['countersign agent run --config agent.yaml', 'countersign agent run --config agent.yaml --check-config'],
    load: async () => (await import('../run/process.ts')).runAgentProcess,
  },
  {
    path: ['csi', 'run'],
    summary: "Run the CSI driver, which mounts the agent's socket into pods",
    options: CONFIG,
    examples: ['countersign csi run --config csi.yaml', 'countersign csi run --config csi.yaml --check-config'],
    load: async () => (await import('../run/process.ts')).runCsiProcess,
  },
  {
    path: ['controller', 'run'],
    summary: 'Run the controller, which turns identity resources into entries',
    options: {
      ...CONFIG,
      resources: { value: 'DIR', summary: 'read resources from the YAML files in this folder instead of the API server' },
      plan: { summary: 'print what would be created, changed and deleted, and stop: exit code 2 when there is something' },
      timeout: { value: 'TIME', summary: 'how long a plan may wait for the CA and the API server; 30s unless given' },
      output: { value: 'FORMAT', summary: 'how a plan is printed: text (default) or json' },
    },
    examples: [
      'countersign controller run --config controller.yaml',
      'countersign controller run --config controller.yaml --resources ./identities',
      'countersign controller run --config controller.yaml --resources ./identities --plan',
    ],
    load: async () => (await import('../run/process.ts')).runControllerProcess,
  },
  {
    path: ['controller', 'healthcheck'],
    summary: 'Ask the controller whether it is ready',
    options: { config: { value: 'FILE', summary: 'its configuration file, to read listen.http from', required: true }, ...WAIT },
    examples: ['countersign controller healthcheck --config controller.yaml'],
    load: async () => (await import('../run/controller-healthcheck.ts')).healthcheckController,
  },
  {
    path: ['ca', 'healthcheck'],
    summary: 'Ask the CA whether it serves',
    options: { ...CA_OPTIONS, ...WAIT },
    examples: ['countersign ca healthcheck --socket ./run/ca/admin.sock'],
    load: async () => (await import('../run/healthcheck.ts')).healthcheckCa,
  },
  {
    path: ['agent', 'healthcheck'],
    summary: 'Ask the agent whether it serves',
    options: { ...AGENT_OPTIONS, ...WAIT },
    examples: ['countersign agent healthcheck --socket ./run/agent/private/admin.sock'],
    load: async () => (await import('../run/healthcheck.ts')).healthcheckAgent,
  },
  {
    path: ['healthcheck'],
    summary: 'Ask whatever listens on a socket whether it serves',
    options: { socket: { value: 'PATH', summary: 'the socket to ask', required: true }, ...WAIT },
    examples: [
      'countersign healthcheck --socket ./run/ca/admin.sock',
      'countersign healthcheck --socket ./run/agent/public/api.sock',
    ],
    load: async () => (await import('../run/healthcheck.ts')).healthcheckCa,
  },
];
