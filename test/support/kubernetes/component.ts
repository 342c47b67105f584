// A program of Kubernetes in a process that ends with the test, however that ends.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { isInstalled } from '../toolchain.ts';

/** A running program; what it writes goes to a file. */
export class Component {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  readonly #logFile: string;

  constructor(name: string, command: readonly string[], logFile: string) {
    this.name = name;
    this.#logFile = logFile;
    // A test process that is killed cleans up nothing: the kernel ends what it has started.
    const bound = isInstalled('setpriv') ? ['setpriv', '--pdeathsig', 'KILL', '--', ...command] : command;
    const [program = '', ...args] = bound;
    const log = openSync(logFile, 'a');
    this.#child = spawn(program, args, { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#closed = once(this.#child, 'close').catch(() => {});
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Resident memory in MiB. */
  get residentMib(): number {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1]) / 1024;
  }

  /** The end of what it has written. */
  get log(): string {
    return readFileSync(this.#logFile, 'utf8').slice(-6000);
  }

  /** Waits until the probe says yes. @throws Error with the end of the log when the program ends or takes too long */
  async becomes(what: string, probe: () => Promise<boolean>, withinMs = 60_000): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (!(await probe().catch(() => false))) {
      const problem = this.hasEnded ? 'ended' : performance.now() > deadline ? `was not ${what} within ${withinMs} ms` : '';
      if (problem !== '') throw new Error(`${this.name} ${problem}; its log ends with:\n${this.log}`);
      await sleep(50);
    }
  }

  /** A sudden end by default: what it has written to disk is what a crash leaves. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (!this.hasEnded) this.#child.kill(signal);
    await this.#closed;
  }
}
