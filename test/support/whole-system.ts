// A CA and an agent as processes of their own, with everything that a test needs to talk to both.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DescService } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { systemClock } from '../../core/clock.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { Entry as WireEntry } from '../../proto/gen/spire/api/types/entry_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { DaemonProcess } from './daemon-process.ts';
import { connectRemote } from './every-rpc.ts';
import { freePort } from './free-port.ts';
import type { ClientIdentity } from './running-ca.ts';
import { attestByToken } from './test-agent.ts';
import { createTestCsr } from './test-csr.ts';
import { createTestKey } from './test-keys.ts';
import { fetchX509 } from './workload.ts';

/** What {@link WholeSystem.start} may be told. */
export interface WholeSystemOptions {
  /** More lines of `ca.yaml`. */
  readonly caYaml?: string;
  /** More lines of `agent.yaml`. */
  readonly agentYaml?: string;
  /** Where the data of the CA lives; below {@link WholeSystem.folder} unless given. */
  readonly caDataDir?: string;
  /** Where the state of the agent lives; `data` beside its configuration unless given. */
  readonly agentDataDir?: string;
  readonly logLevel?: string;
  /** The command instead of the checkout's own. */
  readonly command?: string;
}

/** An ID in example.org as it goes on the wire. */
export const own = (path: string) => ({ trustDomain: 'example.org', path });

const SERVED_WITHIN_MS = 20_000;

/** The selector of this test's own process. */
export const OWN_SELECTOR = { type: 'unix', value: `uid:${process.getuid?.() ?? 0}` };

type EntryFields = Pick<Partial<WireEntry>, 'hint' | 'x509SvidTtl' | 'federatesWith'> & {
  readonly countersignWorkload?: { readonly namespace?: string; readonly serviceAccount?: string };
  readonly spiffeId: ReturnType<typeof own>;
  readonly parentId?: ReturnType<typeof own>;
};

const JOIN_TOKEN = 'attestor: { joinTokenFile: ./token }';

export class WholeSystem implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'whole-'));
  readonly #options: WholeSystemOptions;
  readonly #connections: GrpcConnection[] = [];
  #ca: DaemonProcess | undefined;
  agent: DaemonProcess | undefined;
  /** The join token that the agent attested with. */
  token = '';
  readonly grpcPort: number;
  readonly httpPort: number;

  private constructor(options: WholeSystemOptions, ports: readonly [number, number]) {
    this.#options = options;
    [this.grpcPort, this.httpPort] = ports;
  }

  /** The CA's process, or the last one. */
  get ca(): DaemonProcess {
    if (this.#ca === undefined) throw new Error('the CA was not started yet');
    return this.#ca;
  }

  /** Starts the CA, then the agent, and registers this process as `/web`. */
  static async start(options: WholeSystemOptions = {}): Promise<WholeSystem> {
    const system = await WholeSystem.startCa(options);
    await system.startAgent();
    await system.register({ spiffeId: own('/web') });
    return system;
  }

  /** Starts the CA alone; files that its configuration names are made before. */
  static async startCa(options: WholeSystemOptions = {}, prepare: (folder: string) => void = () => {}): Promise<WholeSystem> {
    const system = new WholeSystem(options, [await freePort(), await freePort()]);
    prepare(system.folder);
    system.spawnCa();
    await system.ca.logged('"ca serves"');
    return system;
  }

  get caSocket(): string {
    return join(this.folder, 'admin', 'api.sock');
  }

  get workloadSocket(): string {
    return join(this.folder, 'agent', 'api.sock');
  }

  get agentAdminSocket(): string {
    return join(this.folder, 'agent', 'private', 'admin.sock');
  }

  get agentPath(): string {
    return `/spire/agent/join_token/${this.token}`;
  }

  /** Starts the CA's process, on the data from before if there is any. */
  spawnCa(): DaemonProcess {
    const { caYaml = '', logLevel = 'info', caDataDir = './data', command } = this.#options;
    const config = `
trustDomain: example.org
dataDir: ${caDataDir}
listen: { grpc: "127.0.0.1:${this.grpcPort}", admin: "unix:./admin/api.sock", http: "127.0.0.1:${this.httpPort}" }
rateLimits: { attestation: 0, signing: 0 }
log: { level: ${logLevel} }
${caYaml}
`;
    return (this.#ca = new DaemonProcess({ kind: 'ca', folder: this.folder, config, ...(command && { command }) }));
  }

  /** Makes a token and starts an agent with it; resolves when it has synchronised. */
  async startAgent(): Promise<void> {
    this.token = (await this.admin(Agent).createJoinToken({ ttl: 600 })).value;
    mkdirSync(join(this.folder, 'agent'), { recursive: true });
    writeFileSync(join(this.folder, 'agent', 'token'), this.token);
    await this.spawnAgent().logged('synchronised with the ca');
  }

  /** Starts the agent's process, on the state from before if there is any. */
  spawnAgent({ wrapper = [], server = this.grpcPort }: { wrapper?: readonly string[]; server?: number } = {}): DaemonProcess {
    const { agentYaml = JOIN_TOKEN, agentDataDir = './data', logLevel = 'info', command } = this.#options;
    const config = `
trustDomain: example.org
dataDir: ${agentDataDir}
server: "127.0.0.1:${server}"
bootstrap: { insecure: true }
workloadAttestors: { unix: {} }
listen: { workload: "unix:./api.sock", admin: "unix:./private/admin.sock" }
log: { level: ${logLevel} }
${agentYaml}
`;
    const folder = join(this.folder, 'agent');
    return (this.agent = new DaemonProcess({ kind: 'agent', folder, config, wrapper, ...(command && { command }) }));
  }

  /** Registers an entry of the agent, for this process unless its selectors are given; waits until it is served. */
  async register(entry: EntryFields): Promise<string> {
    const entries = [{ parentId: own(this.agentPath), selectors: [OWN_SELECTOR], ...entry }];
    const { results } = await this.admin(Entry).batchCreateEntry({ entries });
    await this.served(`spiffe://example.org${entry.spiffeId.path}`);
    return results[0]?.entry?.id ?? '';
  }

  /** Waits until the agent gives this identity to this process. @throws Error with the agent's log when it takes too long */
  async served(id: string): Promise<void> {
    for (const startMs = performance.now(); performance.now() - startMs < SERVED_WITHIN_MS;) {
      const answer = await fetchX509(this.workloadSocket).catch(() => undefined);
      if (answer?.svids.some(({ spiffeId }) => spiffeId === id)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`${id} is not served:\n${this.agent?.log}`);
  }

  /** A client on the CA's private socket, on a connection of its own. */
  admin<S extends DescService>(service: S): Client<S> {
    return this.connect(this.caSocket).client(service);
  }

  connect(path: string): GrpcConnection {
    return this.#keep(connectGrpc({ target: { kind: 'unix', path }, clock: systemClock }));
  }

  /** A connection to the CA over TLS. */
  remote(identity?: ClientIdentity): GrpcConnection {
    return this.#keep(connectRemote(this.grpcPort, identity));
  }

  /** Attests as an agent of the test's own. */
  async attest(): Promise<ClientIdentity & { readonly path: string; readonly token: string }> {
    const { value: token } = await this.admin(Agent).createJoinToken({ ttl: 600 });
    const key = createTestKey();
    const svid = await attestByToken(this.remote(), token, key);
    return { chain: svid.certChain, key, path: svid.id?.path ?? '', token };
  }

  /** An X509-SVID straight from the CA. */
  async mint(path: string, ttl = 0): Promise<ClientIdentity> {
    const key = createTestKey();
    const csr = createTestCsr({ key, uris: [`spiffe://example.org${path}`] });
    const { svid } = await this.admin(SVID).mintX509SVID({ csr, ttl });
    return { chain: svid?.certChain ?? [], key };
  }

  /** The CA's readiness: HTTP status and body. */
  async readiness(): Promise<{ readonly status: number; readonly text: string }> {
    const response = await fetch(`http://127.0.0.1:${this.httpPort}/readyz`);
    return { status: response.status, text: await response.text() };
  }

  closeClients(): void {
    for (const connection of this.#connections.splice(0)) connection[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closeClients();
    await Promise.all([this.agent?.kill(), this.#ca?.kill()]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #keep(connection: GrpcConnection): GrpcConnection {
    this.#connections.push(connection);
    return connection;
  }
}
