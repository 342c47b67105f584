// A program on an existing SPIFFE library (`test/rust`, `test/java`), a CA and an agent for it, and a peer on go-spiffe.
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { JsonLinesProcess, type JsonLine } from './json-lines.ts';
import { startTestAgent, type RunningTestAgent } from './running-agent.ts';
import { RunningCa } from './running-ca.ts';
import { TestCa } from './test-ca.ts';
import { goProgram } from './toolchain.ts';
import { fetchX509 } from './workload.ts';

/** The ID of the program under test and that of its peer. */
export const CLIENT_ID = 'spiffe://example.org/client';
export const PEER_ID = 'spiffe://example.org/peer';

/** What every program prints of an X.509-SVID. */
export interface SvidLine {
  readonly id: string;
  readonly hint: string;
  /** Certificates in hexadecimal, the leaf first. */
  readonly chain: readonly string[];
}

/** What every program prints of a JWT-SVID. */
export interface TokenLine {
  readonly id: string;
  readonly audience: readonly string[];
  readonly token: string;
}

/** The `java` that a launcher of that name starts, since workloads are told apart by the path of their executable. */
export async function javaExecutable(): Promise<string> {
  const { stderr } = await promisify(execFile)('java', ['-XshowSettings:properties', '-version']);
  const home = /^\s*java\.home = (.*)$/m.exec(stderr)?.[1];
  if (home === undefined) throw new Error(`java does not say where it is installed:\n${stderr}`);
  return join(home, 'bin', 'java');
}

/** A CA and an agent, in this process, for one program. */
export class SpiffeClientRig implements AsyncDisposable {
  readonly ca: RunningCa;
  readonly #command: readonly string[];
  readonly #folder: string;
  readonly #parentPath: string;
  readonly #resources: AsyncDisposableStack;
  #agent: RunningTestAgent;

  private constructor(parts: {
    ca: RunningCa;
    command: readonly string[];
    folder: string;
    agent: RunningTestAgent;
    resources: AsyncDisposableStack;
  }) {
    this.ca = parts.ca;
    this.#command = parts.command;
    this.#folder = parts.folder;
    this.#agent = parts.agent;
    this.#parentPath = parts.agent.idPath;
    this.#resources = parts.resources;
  }

  /** Starts both without an entry; `command` is the program and its first arguments. */
  static async start(command: readonly string[]): Promise<SpiffeClientRig> {
    const resources = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'client-'));
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    const ca = resources.use(await RunningCa.start());
    const rig = new SpiffeClientRig({ ca, command, folder, resources, agent: await startAgentIn(folder, ca) });
    // Until the agent has synchronised it would answer UNAVAILABLE.
    await rig.#register('/test', process.execPath, {});
    return rig;
  }

  /** Stops the agent and starts it again on the same data and socket. */
  async restartAgent(): Promise<void> {
    await this.#agent[Symbol.asyncDispose]();
    this.#agent = await startAgentIn(this.#folder, this.ca);
  }

  /** Registers the program under test. */
  async register(fields: { readonly x509SvidTtl?: number; readonly federatesWith?: string[]; readonly hint?: string } = {}) {
    await this.#register('/client', this.#command[0] ?? '', fields);
  }

  /** Registers the peer, which is a program of its own. */
  async registerPeer(): Promise<void> {
    await this.#register('/peer', await goProgram('workload'), {});
  }

  /** Gives the CA a bundle of another trust domain; @returns its authority */
  async federate(trustDomain: string): Promise<Uint8Array> {
    const { der } = TestCa.create({ trustDomain }).root;
    await this.ca.local(Bundle).batchSetFederatedBundle({ bundle: [{ trustDomain, x509Authorities: [{ asn1: der }] }] });
    return der;
  }

  /** Runs the program under test to its end; @returns the last line that it printed */
  async run(...args: readonly string[]): Promise<JsonLine> {
    return lastLine(this.spawn(...args));
  }

  spawn(...args: readonly string[]): JsonLinesProcess {
    const [program = '', ...first] = this.#command;
    return new JsonLinesProcess(program, [...first, ...args], { SPIFFE_ENDPOINT_SOCKET: `unix://${this.#socket}` });
  }

  async runPeer(...args: readonly string[]): Promise<JsonLine> {
    return lastLine(await this.spawnPeer(...args));
  }

  async spawnPeer(...args: readonly string[]): Promise<JsonLinesProcess> {
    return new JsonLinesProcess(await goProgram('workload'), ['-addr', `unix://${this.#socket}`, ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent[Symbol.asyncDispose]();
    await this.#resources.disposeAsync();
  }

  get #socket(): string {
    return join(this.#folder, 'api.sock');
  }

  /** Resolves when the agent knows: an entry for this process, registered in the same transaction, has arrived. */
  async #register(path: string, program: string, fields: Readonly<Record<string, unknown>>): Promise<void> {
    const witness = `${path}/witness`;
    const entries = [{ ...(await this.#entry(path, program)), ...fields }, await this.#entry(witness, process.execPath)];
    const { results } = await this.ca.local(Entry).batchCreateEntry({ entries });
    const failed = results.find(({ status }) => status?.code !== 0);
    if (failed !== undefined) throw new Error(`no entry for ${path}: ${failed.status?.message}`);
    while (!(await this.#has(`spiffe://example.org${witness}`))) await wait(10);
  }

  async #entry(path: string, program: string) {
    return {
      spiffeId: { trustDomain: 'example.org', path },
      parentId: { trustDomain: 'example.org', path: this.#parentPath },
      selectors: [{ type: 'unix', value: `path:${await realpath(program)}` }],
    };
  }

  async #has(id: string): Promise<boolean> {
    try {
      const { svids } = await fetchX509(this.#socket);
      return svids.some(({ spiffeId }) => spiffeId === id);
    } catch {
      return false;
    }
  }
}

function startAgentIn(folder: string, ca: RunningCa): Promise<RunningTestAgent> {
  return startTestAgent(ca, { dataDir: join(folder, 'data'), listen: { workload: `unix:${join(folder, 'api.sock')}` } });
}

async function lastLine(process: JsonLinesProcess): Promise<JsonLine> {
  let last: JsonLine | undefined;
  for (let line = await process.next(); line !== undefined; line = await process.next()) last = line;
  if (last === undefined) throw new Error(`it ended with ${await process.exit()} and printed nothing:\n${process.errors}`);
  return last;
}

/** The X.509-SVIDs in a line. */
export function svidsIn(line: JsonLine): readonly SvidLine[] {
  // The cast is sound: the programs print so.
  return (line['svids'] ?? []) as readonly SvidLine[];
}

/** The only JWT-SVID in a line. */
export function tokenIn(line: JsonLine): TokenLine {
  // The cast is sound: the programs print so.
  const [token, ...others] = (line['svids'] ?? []) as readonly TokenLine[];
  if (token === undefined || others.length > 0) throw new Error(`not one JWT-SVID: ${JSON.stringify(line)}`);
  return token;
}

/** Certificates, or key IDs, by trust domain in a line. Libraries write a trust domain as a name or as an ID. */
export function bundlesIn(line: JsonLine): ReadonlyMap<string, readonly string[]> {
  // The cast is sound: the programs print so.
  const bundles = Object.entries((line['bundles'] ?? {}) as Readonly<Record<string, readonly string[]>>);
  return new Map(bundles.map(([name, values]) => [name.replace('spiffe://', ''), values]));
}

/** The leaf of the only X.509-SVID in a line. */
export function leafIn(line: JsonLine): X509Certificate {
  const [svid, ...others] = svidsIn(line);
  if (svid === undefined || others.length > 0) throw new Error(`not one X.509-SVID: ${JSON.stringify(line)}`);
  return new X509Certificate(Buffer.from(svid.chain[0] ?? '', 'hex'));
}
