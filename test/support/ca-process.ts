// The CA as a user runs it: `countersign ca run` in a process of its own.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { DescService } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { systemClock } from '../../core/clock.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { connectWithTls, type ClientIdentity } from './running-ca.ts';

const COMMAND = join(import.meta.dirname, '../../cli/main.ts');

/** What {@link CaProcess.start} may be told. */
export interface CaProcessOptions {
  /** A folder from before, to start on the same data again. */
  readonly folder?: string;
  /** More lines of `ca.yaml`. */
  readonly yaml?: string;
  readonly logLevel?: string;
  readonly trustDomain?: string;
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly output: string;
}

/** A running `countersign ca run`. */
export class CaProcess implements AsyncDisposable {
  readonly folder: string;
  readonly grpcPort: number;
  readonly httpPort: number;
  /** Bundle endpoint and OIDC discovery. */
  readonly publicPort: number;
  readonly #child: ChildProcess;
  readonly #connections: GrpcConnection[] = [];
  readonly #lines: string[];
  readonly #ownsFolder: boolean;

  private constructor(started: Started, folder: string, ownsFolder: boolean) {
    this.folder = folder;
    this.#child = started.child;
    this.#lines = started.lines;
    this.#ownsFolder = ownsFolder;
    this.grpcPort = started.ports.grpcPort;
    this.httpPort = started.ports.httpPort;
    this.publicPort = started.ports.publicPort;
  }

  /** Starts the CA and waits until it serves. */
  static async start({
    folder,
    yaml = '',
    logLevel = 'info',
    trustDomain = 'example.org',
  }: CaProcessOptions = {}): Promise<CaProcess> {
    const home = folder ?? mkdtempSync(join(tmpdir(), 'ca-'));
    writeFileSync(
      join(home, 'ca.yaml'),
      `trustDomain: ${trustDomain}
dataDir: ./data
listen: { grpc: "127.0.0.1:0", admin: "unix:./admin/api.sock", http: "127.0.0.1:0", public: "127.0.0.1:0" }
log: { level: ${logLevel} }
${yaml.includes('rateLimits:') ? '' : 'rateLimits: { attestation: 0, signing: 0 }'}
${yaml}`,
    );
    return new CaProcess(await startCommand(home), home, folder === undefined);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get socket(): string {
    return join(this.folder, 'admin', 'api.sock');
  }

  /** Everything that it has logged. */
  get log(): string {
    return this.#lines.join('\n');
  }

  /** A connection to the private socket. */
  connect(): GrpcConnection {
    return connectGrpc({ target: { kind: 'unix', path: this.socket }, clock: systemClock });
  }

  /** A client of a service on the private socket. */
  local<S extends DescService>(service: S): Client<S> {
    const connection = this.connect();
    this.#connections.push(connection);
    return connection.client(service);
  }

  /** A connection over TLS, with a client certificate or without. */
  remote(identity?: ClientIdentity): GrpcConnection {
    const connection = connectWithTls(this.grpcPort, identity);
    this.#connections.push(connection);
    return connection;
  }

  /** Ends it with a signal; resolves with its exit code, or null after a kill. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, 'exit');
      this.#child.kill(signal);
      await exited;
    }
    return this.#child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) connection[Symbol.dispose]();
    await this.stop();
    if (this.#ownsFolder) rmSync(this.folder, { recursive: true, force: true });
  }
}

interface Started {
  readonly child: ChildProcess;
  readonly lines: string[];
  readonly ports: { readonly grpcPort: number; readonly httpPort: number; readonly publicPort: number };
}

function startCommand(folder: string): Promise<Started> {
  const child = spawn(process.execPath, [COMMAND, 'ca', 'run', '--config', join(folder, 'ca.yaml')], {
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  const lines: string[] = [];
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the CA ended with ${code}:\n${lines.join('\n')}`)));
    createInterface({ input: child.stderr }).on('line', (line) => {
      lines.push(line);
      // The cast is sound: the line is of our own log.
      if (line.includes('"ca serves"')) resolve({ child, lines, ports: JSON.parse(line) as Started['ports'] });
    });
  });
}

/** Runs `countersign ca run` with arguments that end it by itself. */
export async function runCaCommand(...args: readonly string[]): Promise<Exit> {
  const child = spawn(process.execPath, [COMMAND, 'ca', 'run', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const collect = (chunk: Buffer): void => void (output += chunk.toString());
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  await once(child, 'close');
  return { code: child.exitCode, output };
}
