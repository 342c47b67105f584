// The namespaces that are the node: made by `unshare`, joined to the machine by one pair of interfaces.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { NETWORK } from './cluster-network.ts';

const MACHINE_END = 'countersign0';
const CGROUPS = '/sys/fs/cgroup';

/** How the node's first process is started. */
export interface NodeOptions {
  readonly folder: string;
  readonly binaries: string;
  /** Ends the node when this process ends, however it ends. */
  readonly endsWithUs: boolean;
}

/** Starts the node. @returns the process whose end is the node's end */
export async function startNode({ folder, binaries, endsWithUs }: NodeOptions): Promise<number> {
  const bound = endsWithUs ? ['setpriv', '--pdeathsig', 'KILL', '--'] : [];
  const unshare = ['unshare', '--mount', '--net', '--pid', '--uts', '--fork', '--kill-child', '--mount-proc'];
  const command = [...bound, ...unshare, 'bash', join(import.meta.dirname, 'node.sh'), folder, binaries];
  const [program = '', ...args] = command;
  const log = openSync(join(folder, 'node.log'), 'a');
  // A node that ended with the process that made it, or was killed, had nobody to tidy up after it.
  removeLeftovers();
  const child = spawn(program, args, { stdio: ['ignore', log, log], detached: true });
  closeSync(log);
  child.unref();
  const pid = child.pid ?? 0;
  try {
    for (let attempt = 0; firstProcessOf(pid) === undefined; attempt += 1) {
      if (attempt > 100) throw new Error(`the node did not start: ${readFileSync(join(folder, 'node.log'), 'utf8')}`);
      await sleep(50);
    }
    connect(firstProcessOf(pid) ?? 0);
  } catch (error) {
    await endNode(pid);
    throw error;
  }
  return pid;
}

/** The first process in the namespaces, by the machine's numbers; undefined when the node is not running. */
export function firstProcessOf(unsharePid: number): number | undefined {
  const file = `/proc/${unsharePid}/task/${unsharePid}/children`;
  if (!existsSync(file)) return undefined;
  const child = readFileSync(file, 'utf8').trim();
  return child === '' ? undefined : Number(child);
}

/** A command line that runs the command as a process of the node. */
export function inNode(unsharePid: number, command: readonly string[]): readonly [string, ...string[]] {
  return ['nsenter', '-t', `${firstProcessOf(unsharePid)}`, '-m', '-n', '-p', '-u', '--', ...command];
}

/** Ends the node and every process in it, and takes away what the kernel keeps of it, and its folder when that is named. */
export async function endNode(unsharePid: number, folder?: string): Promise<void> {
  const first = firstProcessOf(unsharePid);
  if (first !== undefined) {
    process.kill(unsharePid, 'SIGKILL');
    while (existsSync(`/proc/${first}`)) await sleep(20);
  }
  removeLeftovers();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** Takes away what the kernel keeps of a node that has ended: its link, and with that the routes, and its control groups. */
function removeLeftovers(): void {
  spawnSync('ip', ['link', 'delete', MACHINE_END], { stdio: 'ignore' });
  removeCgroups();
}

function connect(firstProcess: number): void {
  run('ip', ['link', 'add', MACHINE_END, 'type', 'veth', 'peer', 'name', 'node0', 'netns', `${firstProcess}`]);
  run('ip', ['address', 'add', `${NETWORK.machine}/30`, 'dev', MACHINE_END]);
  run('ip', ['link', 'set', MACHINE_END, 'up']);
  for (const range of [NETWORK.pods, NETWORK.services]) run('ip', ['route', 'add', range, 'via', NETWORK.node]);
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}: ${stderr}`);
}

/** The kernel keeps control groups that no process is in. With version 1 there is a tree for each controller. */
function removeCgroups(): void {
  const trees = existsSync(join(CGROUPS, 'cgroup.controllers'))
    ? [CGROUPS]
    : readdirSync(CGROUPS).map((name) => join(CGROUPS, name));
  for (const tree of trees) removeTree(join(tree, 'kubepods'));
}

function removeTree(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) if (entry.isDirectory()) removeTree(join(path, entry.name));
  try {
    rmdirSync(path);
  } catch {
    // Somebody else's processes are in it.
  }
}
