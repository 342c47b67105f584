// An agent in this process, against a stand-in CA, both on real sockets, with a clock that the test moves.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { DescService } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';

import { startAgent, type RunningAgent } from '../../agent/app.ts';
import { parseAgentConfig } from '../../agent/config.ts';
import { systemClock } from '../../core/clock.ts';
import { SpiffeWorkloadAPI, type X509SVIDResponse } from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { connectGrpc, toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { createLogger } from '../../runtime/log.ts';
import { ManualClock } from './manual-clock.ts';
import { ownUid, StandInCa } from './stand-in-ca.ts';

// Connections are probed by the same clock, every 30 s, and need turns of the event loop to answer.
const MAX_STEP_MS = 4_000;

/** The metadata that every call on the workload socket needs. */
export const headers = { 'workload.spiffe.io': 'true' };

/** What {@link AgentRig.start} may be told. */
export interface AgentRigOptions {
  /** Keys of `agent.yaml` that replace the usual ones. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Leaves the agent unstarted, for a test that prepares the CA first. */
  readonly prepare?: (ca: StandInCa) => void | Promise<void>;
}

export class AgentRig implements AsyncDisposable {
  readonly clock: ManualClock;
  readonly folder: string;
  readonly ca: StandInCa;
  readonly #config: Readonly<Record<string, unknown>>;
  readonly #resources: AsyncDisposableStack;
  readonly #connections: GrpcConnection[] = [];
  #agent: RunningAgent | undefined;

  private constructor(parts: {
    folder: string;
    clock: ManualClock;
    ca: StandInCa;
    config: Readonly<Record<string, unknown>>;
    resources: AsyncDisposableStack;
  }) {
    this.folder = parts.folder;
    this.clock = parts.clock;
    this.ca = parts.ca;
    this.#config = parts.config;
    this.#resources = parts.resources;
  }

  /** A CA with the join token `token-1` and one entry for this process, `/web`, and an agent that attests with the token. */
  static async start({ config = {}, prepare }: AgentRigOptions = {}): Promise<AgentRig> {
    const resources = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'agent-'));
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    const clock = new ManualClock();
    const ca = resources.use(await StandInCa.start(clock));
    ca.joinTokens.add('token-1');
    ca.put({ id: 'web', path: '/web', selectors: [ownUid] });
    await writeFile(join(folder, 'token'), 'token-1\n');
    await writeFile(join(folder, 'bundle.pem'), ca.rootPem);
    const rig = new AgentRig({ folder, clock, ca, config, resources });
    await prepare?.(ca);
    await rig.restart();
    return rig;
  }

  get agent(): RunningAgent {
    if (this.#agent === undefined) throw new Error('the agent does not run');
    return this.#agent;
  }

  get socket(): string {
    return join(this.folder, 'api.sock');
  }

  /** Stops the agent, if it runs, and starts it on the same data. */
  async restart(): Promise<void> {
    await this.stop();
    const config = parseAgentConfig(
      {
        trustDomain: 'example.org',
        dataDir: './data',
        server: `127.0.0.1:${this.ca.port}`,
        bootstrap: { file: './bundle.pem' },
        attestor: { joinTokenFile: './token' },
        workloadAttestors: { unix: {} },
        listen: { workload: 'unix:./api.sock', admin: 'unix:./admin.sock' },
        ...this.#config,
      },
      this.folder,
    );
    const log = createLogger({ level: 'fatal', name: 'agent' });
    this.#agent = await startAgent({ config, clock: this.clock, log }, new AbortController().signal);
  }

  async stop(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    for (const connection of this.#connections.splice(0)) connection[Symbol.dispose]();
    if (agent === undefined) return;
    const stopped = agent[Symbol.asyncDispose]();
    const isStopped = stopped.then(() => true);
    // The drain waits on the clock.
    for (let turns = 0; turns < 200 && !(await Promise.race([isStopped, nextTurn(false)])); turns++) this.clock.advance(100);
    await stopped;
  }

  /** A client on a socket of the agent's, with a connection of its own. */
  client<S extends DescService>(service: S, socket = this.socket): Client<S> {
    return this.#connect(socket).client(service);
  }

  get workload(): Client<typeof SpiffeWorkloadAPI> {
    return this.client(SpiffeWorkloadAPI);
  }

  get admin(): string {
    return join(this.folder, 'admin.sock');
  }

  /** The first message of FetchX509SVID, once the agent is ready. */
  async fetchX509(): Promise<X509SVIDResponse> {
    const { value } = await this.watchX509().next();
    return value as X509SVIDResponse;
  }

  /** The messages of one FetchX509SVID stream. */
  watchX509(): AsyncIterator<X509SVIDResponse> {
    return this.workload.fetchX509SVID({}, { headers })[Symbol.asyncIterator]();
  }

  /** Waits until the agent has synchronised and signed what there is. */
  async ready(): Promise<this> {
    await this.until(async () => (await codeOf(this.workload.fetchJWTBundles({}, { headers }))) !== 'unavailable');
    return this;
  }

  /** Turns the event loop until something holds; the clock stands still unless `advanceMs` moves it each time. */
  async until(condition: () => boolean | Promise<boolean>, advanceMs = 0): Promise<void> {
    const deadline = systemClock.monotonicMs() + 15_000;
    while (!(await condition())) {
      if (systemClock.monotonicMs() > deadline) throw new Error(`never came true: ${condition.toString()}`);
      await this.pass(advanceMs);
    }
  }

  /** Lets time pass in small steps, with turns of the event loop in which connections answer their probes. */
  async pass(ms: number): Promise<void> {
    for (let leftMs = ms; ; leftMs -= MAX_STEP_MS) {
      if (leftMs > 0) this.clock.advance(Math.min(leftMs, MAX_STEP_MS));
      for (let turn = 0; turn < 4; turn++) await nextTurn();
      if (leftMs <= MAX_STEP_MS) return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.#resources.disposeAsync();
  }

  #connect(path: string): GrpcConnection {
    const connection = connectGrpc({ target: { kind: 'unix', path }, clock: systemClock });
    this.#connections.push(connection);
    return connection;
  }
}

/** How the first message of a stream, or a unary call, fails; undefined when it does not. */
export async function codeOf(answer: AsyncIterable<unknown> | Promise<unknown>): Promise<string | undefined> {
  try {
    if (answer instanceof Promise) await answer;
    else await answer[Symbol.asyncIterator]().next();
    return undefined;
  } catch (error) {
    return toIdentityError(error).code;
  }
}
