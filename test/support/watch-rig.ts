import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { AgentStreams } from '../../ca/api/agent-streams.ts';
import { nodeService } from '../../ca/api/node-watch.ts';
import type { SettingsSource } from '../../ca/authorization-settings.ts';
import type { PolicyProgress } from '../../ca/policies/progress.ts';
import type { Registry } from '../../ca/registry/registry.ts';
import { systemClock } from '../../core/clock.ts';
import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { Node } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import type { WatchRequestSchema, WatchResponse } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { connectGrpc } from '../../runtime/grpc-client.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { GrpcServer } from '../../runtime/grpc/server.ts';
import { createLogger } from '../../runtime/log.ts';
import type { Logger } from '../../runtime/log.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';

/** The node service on a unix socket, for agents that say who they are: what is tested is the stream, not who may open it. */
export interface WatchServer extends AsyncDisposable {
  readonly path: string;
}

/** What a {@link WatchServer} serves. */
export interface WatchServerOptions {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log?: Logger;
  /** Told what of policy is in force; nobody is unless given. */
  readonly policyProgress?: PolicyProgress;
  /** What agents are told of authorization. */
  readonly settings?: SettingsSource;
  /** When the agents' certificates end. */
  readonly expiresAtMs?: number;
}

/** Serves `countersign.node.v1` of a registry. Agents name themselves in the metadata `agent`. */
export async function serveWatches(options: WatchServerOptions): Promise<WatchServer> {
  const { registry, clock, expiresAtMs = Number.MAX_SAFE_INTEGER } = options;
  const log = options.log ?? createLogger({ level: 'fatal', name: 'test' });
  const folder = mkdtempSync(join(tmpdir(), 'watch-'));
  const server = new GrpcServer<undefined>();
  const handlers = nodeService<undefined>({
    registry,
    clock,
    log,
    streams: new AgentStreams(clock),
    settings: options.settings ?? { value: { defaultAction: 'audit' } },
    policyProgress: options.policyProgress ?? { of: () => ({ revision: 0, refused: {} }), note: () => {} },
    agentOf: (call) => ({ id: parseSpiffeId(call.metadata.get('agent') ?? ''), expiresAtMs }),
    assertStillAuthorized: (call) => {
      const agent = registry.agents.get(parseSpiffeId(call.metadata.get('agent') ?? ''));
      const isActive = agent !== undefined && !agent.banned && clock.nowMs() <= expiresAtMs;
      if (!isActive) throw new IdentityError('permission_denied', 'not an active agent');
    },
  });
  server.addService(Node, handlers);
  const path = join(folder, 'api.sock');
  const listener = createServer((socket) => server.handleConnection(socket, undefined));
  // A thousand agents connect in one tick here; more than the usual backlog would be turned away.
  listener.listen({ path, backlog: 4096 });
  await once(listener, 'listening');
  return {
    path,
    async [Symbol.asyncDispose]() {
      listener.close();
      await server.close({ graceMs: 0 });
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

type Request = MessageInitShape<typeof WatchRequestSchema>;

/** Where a client resumes, and what it wants. */
export interface Subscription {
  readonly feedId?: string;
  readonly resumeRevision?: bigint;
  /** `entry` and `bundle` unless others are named. */
  readonly kinds?: string[];
}

/** An agent's end of the stream, message by message. */
export class WatchClient implements Disposable {
  readonly #connection: GrpcConnection;
  readonly #stop = new AbortController();
  readonly #responses: AsyncIterator<WatchResponse>;
  #send: (request: Request | undefined) => void = () => {};

  constructor(path: string, agentId: string, first: Request) {
    this.#connection = connectGrpc({ target: { kind: 'unix', path }, clock: systemClock });
    const options = { headers: { agent: agentId }, signal: this.#stop.signal };
    const responses = this.#connection.client(Node).watch(this.#requests(first), options);
    this.#responses = responses[Symbol.asyncIterator]();
  }

  static subscribe(path: string, agentId: string, subscription: Subscription = {}): WatchClient {
    const value = { kinds: ['entry', 'bundle'], ...subscription };
    return new WatchClient(path, agentId, { message: { case: 'subscribe', value } });
  }

  /** The next message. @throws what the call ended with */
  async next(): Promise<WatchResponse> {
    const { value, done } = await this.#responses.next();
    if (done === true) throw new Error('the stream has ended');
    return value;
  }

  /** All messages up to one that is complete. */
  async answer(): Promise<readonly WatchResponse[]> {
    const parts: WatchResponse[] = [];
    do parts.push(await this.next());
    while (parts.at(-1)?.complete !== true);
    return parts;
  }

  send(request: Request): void {
    this.#send(request);
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#send(undefined);
    this.#connection[Symbol.dispose]();
  }

  async *#requests(first: Request): AsyncGenerator<Request> {
    yield first;
    while (!this.#stop.signal.aborted) {
      const request = await new Promise<Request | undefined>((resolve) => {
        this.#send = resolve;
      });
      if (request === undefined) return;
      yield request;
    }
  }
}

/** What a watch message names, such as `entry web` or `entry web removed`, in order. */
export function namesIn(parts: readonly WatchResponse[]): readonly string[] {
  return parts.flatMap(({ resources }) =>
    resources.map(({ kind, name, removed }) => `${kind} ${name}${removed ? ' removed' : ''}`),
  );
}
