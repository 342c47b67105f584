// The two systems under comparison, each a server and an agent on sockets of its own, with one interface.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Agent as AgentService } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry as EntryService } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { systemClock } from '../../core/clock.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { freePort } from '../support/free-port.ts';
import { startSpireAgent, startSpireServer } from '../support/spire.ts';
import { startDaemon } from './daemon.ts';

/** A running server. */
export interface Server extends AsyncDisposable {
  readonly pid: number;
  /** Admin API, `unix:/path`. */
  readonly admin: string;
  /** Where agents connect, `127.0.0.1:port`. */
  readonly address: string;
  readonly startMs: number;
}

/** A running agent. */
export interface Agent extends AsyncDisposable {
  readonly pid: number;
  readonly workloadApi: string;
  readonly id: string;
}

/** One of the systems. */
export interface Stack {
  readonly name: 'countersign' | 'spire';
  startServer(folder: string): Promise<Server>;
  startAgent(folder: string, server: Server): Promise<Agent>;
}

/** What may differ between the CAs of different measurements. */
export interface CaOptions {
  /** Any free one unless given. */
  readonly port?: number;
  /** Keys that outlive a restart, or not. */
  readonly keys?: 'memory' | 'disk';
  /** Where it serves its metrics; any free port unless given. */
  readonly httpPort?: number;
  /** Further lines of its configuration. */
  readonly settings?: readonly string[];
}

/** Starts our CA on its folder; a second time, on what the first left there. */
export async function startCa(folder: string, options: CaOptions = {}): Promise<Server> {
  const { port, keys = 'memory', httpPort = 0, settings = [] } = options;
  mkdirSync(folder, { recursive: true });
  const address = `127.0.0.1:${port ?? (await freePort())}`;
  const socket = join(folder, 'ca.sock');
  const config = [
    'trustDomain: example.org',
    'dataDir: ./data',
    `listen: { grpc: "${address}", admin: "unix:./ca.sock", http: "127.0.0.1:${httpPort}" }`,
    `keys: { kind: ${keys} }`,
    'rateLimits: { attestation: 0, signing: 0 }',
    'log: { level: warn }',
    ...settings,
  ].join('\n');
  const daemon = await startDaemon('ca', folder, { config, socket });
  const dispose = (): PromiseLike<void> => daemon[Symbol.asyncDispose]();
  return { pid: daemon.pid, startMs: daemon.startMs, [Symbol.asyncDispose]: dispose, admin: `unix:${socket}`, address };
}

export const countersign: Stack = {
  name: 'countersign',
  startServer: (folder) => startCa(folder),
  async startAgent(folder, server) {
    mkdirSync(folder, { recursive: true });
    const { token, bundlePem } = await enrolment(server);
    writeFileSync(join(folder, 'token'), token, { mode: 0o600 });
    writeFileSync(join(folder, 'bundle.pem'), bundlePem);
    const socket = join(folder, 'api.sock');
    const config = [
      'trustDomain: example.org',
      'dataDir: ./data',
      `server: "${server.address}"`,
      'bootstrap: { file: ./bundle.pem }',
      'attestor: { joinTokenFile: ./token }',
      'keys: { kind: memory }',
      'workloadAttestors: { unix: {} }',
      'listen: { workload: "unix:./api.sock", admin: "unix:./admin.sock", http: "127.0.0.1:0" }',
      'log: { level: warn }',
    ].join('\n');
    const daemon = await startDaemon('agent', folder, { config, socket });
    return {
      pid: daemon.pid,
      [Symbol.asyncDispose]: (): PromiseLike<void> => daemon[Symbol.asyncDispose](),
      workloadApi: `unix:${socket}`,
      id: agentId(token),
    };
  },
};

export const spire: Stack = {
  name: 'spire',
  async startServer(folder) {
    mkdirSync(folder, { recursive: true });
    const startedMs = systemClock.monotonicMs();
    const server = await startSpireServer({ folder });
    return {
      ...server,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      startMs: systemClock.monotonicMs() - startedMs,
    };
  },
  async startAgent(folder, server) {
    mkdirSync(folder, { recursive: true });
    const { token, bundlePem } = await enrolment(server);
    const bundleFile = join(folder, 'bundle.pem');
    writeFileSync(bundleFile, bundlePem);
    const agent = await startSpireAgent({ folder, server: server.address, joinToken: token, bundleFile });
    return { ...agent, [Symbol.asyncDispose]: () => agent[Symbol.asyncDispose](), id: agentId(token) };
  },
};

const agentId = (token: string): string => `spiffe://example.org/spire/agent/join_token/${token}`;

/** The admin API of a server; use it with `using`. */
export function adminOf(server: Server): GrpcConnection {
  return connectGrpc({ target: { kind: 'unix', path: server.admin.replace('unix:', '') }, clock: systemClock });
}

/** A join token, and the bundle that an agent trusts first. */
export async function enrolment(server: Server): Promise<{ readonly token: string; readonly bundlePem: string }> {
  using admin = adminOf(server);
  const { value: token } = await admin.client(AgentService).createJoinToken({ ttl: 600 });
  const { x509Authorities } = await admin.client(BundleService).getBundle({});
  return { token, bundlePem: x509Authorities.map(({ asn1 }) => encodePem('CERTIFICATE', asn1)).join('') };
}

/** What entries to make. */
export interface EntriesOptions {
  readonly parentId: string;
  readonly count: number;
  /** The selector of the entry at an index, as `type:value`. */
  readonly selector: (index: number) => string;
}

/** Registers entries in batches of 100. */
export async function createEntries(server: Server, { parentId, count, selector }: EntriesOptions): Promise<void> {
  using admin = adminOf(server);
  const client = admin.client(EntryService);
  const wireParent = { trustDomain: 'example.org', path: parentId.slice('spiffe://example.org'.length) };
  for (let start = 0; start < count; start += 100) {
    const entries = Array.from({ length: Math.min(100, count - start) }, (_, offset) => {
      const [type = '', ...rest] = selector(start + offset).split(':');
      return {
        spiffeId: { trustDomain: 'example.org', path: `/bench/${wireParent.path.split('/').at(-1)}/${start + offset}` },
        parentId: wireParent,
        selectors: [{ type, value: rest.join(':') }],
      };
    });
    const { results } = await client.batchCreateEntry({ entries });
    const failed = results.find(({ status }) => status?.code !== 0);
    if (failed !== undefined) throw new Error(`entry refused: ${failed.status?.message}`);
  }
}
