import { resolve } from 'node:path';

import { parseDuration } from '../../core/duration.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';

// A daemon's heap is kept small on purpose: the young generation would otherwise grow to hundreds of megabytes under load. So small
// a one is collected by one thread as fast as by several, with less memory.
const CA_FLAGS: readonly string[] = ['--max-semi-space-size=8', '--no-parallel-scavenge'];
// An agent runs on every node: collected early (24 MB) and with ample room (256 MB), compiling on its own thread, whose memory the
// others would keep, it stays under 107 MiB at full load.
const AGENT_FLAGS: readonly string[] = [
  '--max-semi-space-size=1',
  '--no-parallel-scavenge',
  '--initial-old-space-size=24',
  '--max-old-space-size=256',
  '--no-concurrent-recompilation',
];

// The driver has a few calls for each pod that starts or ends, so it is small before it is fast.
const CSI_FLAGS: readonly string[] = [
  '--max-semi-space-size=1',
  '--no-parallel-scavenge',
  '--max-old-space-size=64',
  '--max-lazy',
];

// Thousands of pods come and go at once: a young generation of a few megabytes keeps what they leave behind small.
const CONTROLLER_FLAGS: readonly string[] = ['--max-semi-space-size=8', '--no-parallel-scavenge'];

/** Marks a process that already runs with the flags above. */
const TUNED = 'COUNTERSIGN_TUNED';

/** `countersign ca run` */
export const runCaProcess: CommandRun = async (invocation) => {
  tune(invocation, CA_FLAGS);
  const { runCa } = await import('../../ca/main.ts');
  return runCa(processOptions(invocation));
};

/** `countersign agent run` */
export const runAgentProcess: CommandRun = async (invocation) => {
  tune(invocation, AGENT_FLAGS);
  const { runAgent } = await import('../../agent/main.ts');
  return runAgent(processOptions(invocation));
};

/** `countersign csi run` */
export const runCsiProcess: CommandRun = async (invocation) => {
  tune(invocation, CSI_FLAGS);
  const { runCsi } = await import('../../agent/csi/main.ts');
  return runCsi(processOptions(invocation));
};

/** `countersign controller run` */
export const runControllerProcess: CommandRun = async (invocation) => {
  const plan = planFormat(invocation);
  const planTimeoutMs = planTimeoutMsOf(invocation);
  tune(invocation, CONTROLLER_FLAGS);
  const { runController } = await import('../../controller/main.ts');
  const { terminal } = invocation;
  const resources = invocation.text('resources');
  const resourcesDir = resources === undefined ? undefined : resolve(terminal.cwd, resources);
  const { signal, writeError } = terminal;
  return runController({ ...processOptions(invocation), resourcesDir, plan, planTimeoutMs, writeError, signal });
};

const PLAN_TIMEOUT = '30s';

function planTimeoutMsOf(invocation: Invocation): number {
  const timeout = invocation.text('timeout');
  if (timeout !== undefined && !invocation.flag('plan')) throw usage(invocation.command, '--timeout goes with --plan');
  return parseDuration(timeout ?? PLAN_TIMEOUT, '--timeout').ms;
}

function planFormat(invocation: Invocation): 'text' | 'json' | undefined {
  const output = invocation.text('output') ?? 'text';
  if (output !== 'text' && output !== 'json') throw usage(invocation.command, `--output must be text or json, is "${output}"`);
  return invocation.flag('plan') ? output : undefined;
}

interface ProcessOptions {
  readonly configFile: string;
  readonly checkConfig: boolean;
  readonly write: (text: string) => void;
}

function processOptions(invocation: Invocation): ProcessOptions {
  const { terminal } = invocation;
  return {
    configFile: resolve(terminal.cwd, invocation.requiredText('config')),
    checkConfig: invocation.flag('check-config'),
    write: terminal.write,
  };
}

/** Starts this same command again with V8's flags, in place: same process ID, same open files. */
function tune({ terminal }: Invocation, flags: readonly string[]): void {
  const [script] = process.argv.slice(1);
  if (terminal.environment[TUNED] === '1' || script === undefined || process.execve === undefined) return;
  const words = [process.execPath, ...flags, ...process.execArgv, script, ...process.argv.slice(2)];
  process.execve(process.execPath, words, { ...definedOnly(terminal.environment), [TUNED]: '1' });
}

function definedOnly(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const entries = Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return Object.fromEntries(entries);
}
