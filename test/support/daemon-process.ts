// The CA and the agent as a user runs them, in processes that a test may kill at any moment.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const COMMAND = join(import.meta.dirname, '../../cli/main.ts');

/** How a {@link DaemonProcess} is started. */
export interface DaemonOptions {
  readonly kind: 'ca' | 'agent' | 'csi';
  /** Where its configuration is written to; relative paths in it start from there. */
  readonly folder: string;
  /** YAML. */
  readonly config: string;
  /** The command instead of the checkout's own, such as one that was built. */
  readonly command?: string;
  /** A program with arguments that starts the command, such as `setpriv …`. */
  readonly wrapper?: readonly string[];
}

/** A running `countersign ca|agent|csi run`. Its log lines are kept. */
export class DaemonProcess implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #arrival = Promise.withResolvers<void>();

  constructor({ kind, folder, config, command = COMMAND, wrapper = [] }: DaemonOptions) {
    const file = join(folder, `${kind}.yaml`);
    writeFileSync(file, config);
    const [program, ...args] = [...wrapper, process.execPath, command, kind, 'run', '--config', file];
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#closed = once(this.#child, 'close').finally(() => this.#arrival.resolve());
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on('line', (line) => this.#add(line));
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Undefined while it runs; null after a signal. */
  get exitCode(): number | null | undefined {
    const { exitCode, signalCode } = this.#child;
    return exitCode === null && signalCode === null ? undefined : exitCode;
  }

  /** Everything that it has written. */
  get log(): string {
    return this.lines.join('\n');
  }

  /** The fields of the first log line that holds the text, from line `from` on. @throws Error when it ends before */
  async logged(text: string, from = 0): Promise<Readonly<Record<string, unknown>>> {
    for (let index = from; ; index += 1) {
      while (index >= this.lines.length) {
        if (this.exitCode !== undefined) throw new Error(`it ended with ${this.exitCode} before "${text}":\n${this.log}`);
        await this.#arrival.promise;
      }
      // The cast is sound: log lines are JSON objects.
      if (this.lines[index]?.includes(text)) return JSON.parse(this.lines[index] ?? '') as Record<string, unknown>;
    }
  }

  /** Waits for its end by itself. */
  async ended(): Promise<number | null | undefined> {
    await this.#closed;
    return this.exitCode;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null | undefined> {
    if (this.exitCode === undefined) this.#child.kill(signal);
    return this.ended();
  }

  /** How many files it has open. */
  openFiles(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** How many files it has open once that number stands still. */
  async settledFiles(): Promise<number> {
    for (let count = this.openFiles(), same = 0; ;) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const now = this.openFiles();
      same = now === count ? same + 1 : 0;
      if (same === 10) return now;
      count = now;
    }
  }

  /** Resident memory in MiB. */
  residentMib(): number {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1]) / 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill('SIGTERM');
  }

  #add(line: string): void {
    this.lines.push(line);
    this.#arrival.resolve();
    this.#arrival = Promise.withResolvers();
  }
}
