// The `countersign` command as a user runs it, in a process of its own.
import { spawn } from 'node:child_process';
import { join } from 'node:path';

export const COMMAND = join(import.meta.dirname, '../../cli/main.ts');

/** How a program ended, and what it wrote. */
export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunCommandOptions {
  readonly cwd?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Its standard input; empty unless given. */
  readonly input?: string;
}

/** Runs a program until it ends. */
export function runToEnd(
  command: string,
  args: readonly string[],
  { cwd, environment, input = '' }: RunCommandOptions = {},
): Promise<Finished> {
  const child = spawn(command, args, { cwd, env: { ...process.env, ...environment }, stdio: 'pipe' });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  // A program may end without reading its input.
  child.stdin.on('error', () => {}).end(input);
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** Runs `countersign ARGS` until it ends. */
export function countersign(args: readonly string[], options: RunCommandOptions = {}): Promise<Finished> {
  return runToEnd(process.execPath, [COMMAND, ...args], options);
}
