import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

/** One line of a test program's output. */
export type JsonLine = Readonly<Record<string, unknown>>;

/** A process that prints one JSON object a line and may be told things the same way. Its standard error is kept. */
export class JsonLinesProcess implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #exit: Promise<number>;
  readonly #lines: JsonLine[] = [];
  readonly #readers: PromiseWithResolvers<JsonLine | undefined>[] = [];
  #errors = '';
  #ended = false;

  constructor(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.#exit = once(this.#child, 'close').then(([code]: unknown[]) => (typeof code === 'number' ? code : -1));
    this.#exit.catch((error: unknown) => (this.#errors += String(error)));
    this.#child.stderr.on('data', (chunk: Buffer) => (this.#errors += chunk.toString()));
    this.#child.stdin.on('error', () => {}); // it exited first; its exit code and standard error say why
    const lines = createInterface({ input: this.#child.stdout });
    lines.on('line', (line) => this.#deliver(line));
    lines.on('close', () => this.#end());
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What it has written to standard error so far. */
  get errors(): string {
    return this.#errors;
  }

  /** The next line, or undefined after the last. Lines are kept until they are asked for. */
  async next(): Promise<JsonLine | undefined> {
    const line = this.#lines.shift();
    if (line !== undefined || this.#ended) return line;
    const reader = Promise.withResolvers<JsonLine | undefined>();
    this.#readers.push(reader);
    return reader.promise;
  }

  /**
   * The next line for which the predicate holds; lines before it are dropped.
   *
   * @throws Error with standard error's text when the process ends first.
   */
  async until(predicate: (line: JsonLine) => boolean): Promise<JsonLine> {
    for (;;) {
      const line = await this.next();
      if (line === undefined) throw new Error(`process ended before the expected line: ${this.#errors}`);
      if (predicate(line)) return line;
    }
  }

  write(line: JsonLine): void {
    this.#child.stdin.write(`${JSON.stringify(line)}\n`);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Its exit code; -1 after a signal. */
  async exit(): Promise<number> {
    return this.#exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    this.#child.kill('SIGTERM');
    await this.#exit.catch(() => -1);
  }

  #deliver(text: string): void {
    // Each of our test programs prints objects only.
    const line = JSON.parse(text) as JsonLine;
    const reader = this.#readers.shift();
    if (reader === undefined) this.#lines.push(line);
    else reader.resolve(line);
  }

  #end(): void {
    this.#ended = true;
    for (const reader of this.#readers.splice(0)) reader.resolve(undefined);
  }
}

/**
 * Runs a program to its end.
 *
 * @returns The lines it printed, its exit code and its standard error.
 */
export async function runJsonLines(
  command: string,
  args: readonly string[],
): Promise<{ lines: readonly JsonLine[]; exitCode: number; errors: string }> {
  const child = new JsonLinesProcess(command, args);
  const lines: JsonLine[] = [];
  for (let line = await child.next(); line !== undefined; line = await child.next()) lines.push(line);
  return { lines, exitCode: await child.exit(), errors: child.errors };
}
