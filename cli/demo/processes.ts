import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A child process of the demo; disposing of it stops it and waits until it is gone. */
export interface DemoProcess extends AsyncDisposable {
  readonly name: string;
  readonly child: ChildProcess;
  /** What it wrote to standard error last, for when it fails. */
  lastWords(): string;
}

/** How to start a {@link DemoProcess}. */
export interface DemoProcessOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Told of each line on its standard output. */
  readonly onLine?: (line: string) => void;
  /** Told when it ended though nobody stopped it. */
  readonly onUnexpectedEnd: (process: DemoProcess) => void;
}

/** Starts a child process in its own process group, so that an interrupt of the terminal reaches the demo alone. */
export function startProcess(options: DemoProcessOptions): DemoProcess {
  const { name, command, args, environment, onLine, onUnexpectedEnd } = options;
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
    detached: true,
  });
  const words: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => onLine?.(line));
  createInterface({ input: child.stderr }).on('line', (line) => words.push(line) > 20 && words.shift());
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let stopping = false;
  const self: DemoProcess = {
    name,
    child,
    lastWords: () => words.join('\n'),
    async [Symbol.asyncDispose]() {
      stopping = true;
      child.kill('SIGTERM');
      await ended;
    },
  };
  child.once('error', (error) => words.push(error.message));
  child.once('close', () => {
    if (!stopping) onUnexpectedEnd(self);
  });
  return self;
}
