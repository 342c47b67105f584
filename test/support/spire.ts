// The SPIRE server and agent themselves, for interoperability tests and for the benchmark's comparison.
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from './free-port.ts';

/** Folder with `spire-server` and `spire-agent`, from the environment's SPIRE_BIN; undefined when they are not there. */
export const spireBinaries = ['spire-server', 'spire-agent'].every((name) =>
  existsSync(join(process.env['SPIRE_BIN'] ?? '', name)),
)
  ? process.env['SPIRE_BIN']
  : undefined;

/** A running SPIRE process. Its log is in `<folder>/log`. */
export interface SpireProcess extends AsyncDisposable {
  readonly pid: number;
}

export interface SpireServer extends SpireProcess {
  /** The admin API, `unix:/path`. */
  readonly admin: string;
  /** Where agents connect, `127.0.0.1:port`. */
  readonly address: string;
}

export interface SpireAgent extends SpireProcess {
  /** `unix:/path`. */
  readonly workloadApi: string;
  /** `unix:/path`: delegated identity, debug. */
  readonly admin: string;
}

/** What both processes need. The folder is an empty one; everything they write goes there. */
interface SpireOptions {
  readonly folder: string;
  readonly trustDomain?: string;
}

export interface SpireServerOptions extends SpireOptions {
  /** More settings of the `server` section, as HCL lines. */
  readonly settings?: string;
  /** More plugins, as HCL. */
  readonly plugins?: string;
}

/** Starts a SPIRE server with SQLite, memory keys, join tokens, P-256 keys and no rate limits, and waits until it is ready. */
export async function startSpireServer(options: SpireServerOptions): Promise<SpireServer> {
  const { folder, trustDomain = 'example.org', settings = '', plugins = '' } = options;
  const port = await freePort();
  const socket = join(folder, 'admin.sock');
  const child = start('spire-server', folder, [
    `server {
      bind_address = "127.0.0.1"
      bind_port = "${port}"
      socket_path = "${socket}"
      trust_domain = "${trustDomain}"
      data_dir = "${folder}"
      log_level = "WARN"
      ca_key_type = "ec-p256"
      ratelimit { attestation = false signing = false }
      ${settings}
    }`,
    `plugins {
      DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "${join(folder, 'store.sqlite3')}" } }
      KeyManager "memory" { plugin_data {} }
      NodeAttestor "join_token" { plugin_data {} }
      ${plugins}
    }`,
  ]);
  await ready(child, ['spire-server', 'healthcheck', '-socketPath', socket]);
  return { ...disposable(child), admin: `unix:${socket}`, address: `127.0.0.1:${port}` };
}

export interface SpireAgentOptions extends SpireOptions {
  /** Where its server is, `127.0.0.1:port`: SPIRE's or ours. */
  readonly server: string;
  readonly joinToken?: string;
  /** Authorities to trust at first, PEM. Without it the first connection is not verified. */
  readonly bundleFile?: string;
  readonly settings?: string;
  readonly plugins?: string;
}

/** Starts a SPIRE agent with memory keys and the `unix` workload attestor, and waits until it serves. */
export async function startSpireAgent(options: SpireAgentOptions): Promise<SpireAgent> {
  const { folder, trustDomain = 'example.org', server, joinToken, bundleFile, settings = '', plugins = '' } = options;
  const [host, port] = server.split(':');
  const sockets = { workload: join(folder, 'public', 'api.sock'), admin: join(folder, 'private', 'admin.sock') };
  mkdirSync(join(folder, 'public'));
  mkdirSync(join(folder, 'private'));
  const child = start('spire-agent', folder, [
    `agent {
      data_dir = "${folder}"
      log_level = "WARN"
      server_address = "${host}"
      server_port = "${port}"
      socket_path = "${sockets.workload}"
      admin_socket_path = "${sockets.admin}"
      trust_domain = "${trustDomain}"
      ${bundleFile === undefined ? 'insecure_bootstrap = true' : `trust_bundle_path = "${bundleFile}"`}
      ${joinToken === undefined ? '' : `join_token = "${joinToken}"`}
      ${settings}
    }`,
    `plugins {
      KeyManager "memory" { plugin_data {} }
      ${joinToken === undefined ? '' : 'NodeAttestor "join_token" { plugin_data {} }'}
      WorkloadAttestor "unix" { plugin_data {} }
      ${plugins}
    }`,
  ]);
  await ready(child, ['spire-agent', 'healthcheck', '-socketPath', sockets.workload]);
  return { ...disposable(child), workloadApi: `unix:${sockets.workload}`, admin: `unix:${sockets.admin}` };
}

interface Started {
  readonly process: ChildProcess;
  readonly logFile: string;
}

function start(binary: string, folder: string, config: readonly string[]): Started {
  const configFile = join(folder, 'spire.conf');
  const logFile = join(folder, 'log');
  writeFileSync(configFile, config.join('\n'));
  const log = openSync(logFile, 'a');
  const child = spawn(path(binary), ['run', '-config', configFile], { stdio: ['ignore', log, log] });
  return { process: child, logFile };
}

function path(binary: string): string {
  if (spireBinaries === undefined) throw new Error('SPIRE_BIN does not name a folder with spire-server and spire-agent');
  return join(spireBinaries, binary);
}

/** Asks until the process says that it is healthy, for up to 30 seconds. */
async function ready(child: Started, [binary = '', ...args]: readonly string[]): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    if (child.process.exitCode !== null) break;
    if (spawnSync(path(binary), args, { stdio: 'ignore' }).status === 0) return;
    await delay(100);
  }
  child.process.kill('SIGKILL');
  throw new Error(`${binary} did not become healthy:\n${readFileSync(child.logFile, 'utf8')}`);
}

function disposable({ process: child }: Started): SpireProcess {
  return {
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    },
  };
}
