import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const script = join(import.meta.dirname, 'unix_caller.py');

/** The real path of the Python interpreter, not of a shim that starts it; undefined without one. */
export function pythonExecutable(): string | undefined {
  const found = spawnSync('python3', ['-c', 'import os, sys; print(os.path.realpath(sys.executable))'], { encoding: 'utf8' });
  return found.status === 0 ? found.stdout.trim() : undefined;
}

/** Whether a process may make pid namespaces here; needs root. */
export function canUnshare(): boolean {
  return spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0;
}

/** A real process that calls a unix socket. */
export class UnixCaller implements AsyncDisposable {
  readonly process: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  /** @param wrapper a command that starts the caller, such as `unshare --pid --fork` */
  constructor(python: string, socketPath: string, wrapper: readonly string[] = []) {
    const command = [...wrapper, python, '-S', '-E', script, socketPath];
    this.process = spawn('env', command, { stdio: ['pipe', 'pipe', 'pipe'] });
    if (this.process.stdout === null) throw new Error('the caller has no output');
    this.#answers = createInterface(this.process.stdout)[Symbol.asyncIterator]();
  }

  /** Has the caller do something; the answer holds the pid that does it, in the caller's own namespace. */
  async do(command: string, options: Readonly<Record<string, unknown>> = {}): Promise<{ readonly pid: number }> {
    this.process.stdin?.write(`${JSON.stringify({ do: command, with: options })}\n`);
    const answer = await this.#answers.next();
    if (answer.done === true) throw new Error(`the caller ended at ${command}`);
    return JSON.parse(answer.value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.stdin?.end();
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill('SIGKILL');
    await once(this.process, 'exit');
  }
}
