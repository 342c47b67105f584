// The CA's policies as a controller sees them, on a real socket, doing what a test tells them to.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { systemClock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import {
  Policies,
  type Resource,
  type ResourceName,
  type ResourceStatusSchema,
  type SimulateRequest,
  type SimulateResponseSchema,
} from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { ownerOfDocument } from '../../policy/document-owner.ts';
import { GrpcServer } from '../../runtime/grpc/server.ts';
import { listenUnix } from '../../runtime/grpc/unix-listener.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';

type Status = MessageInitShape<typeof ResourceStatusSchema>;

/** How many nodes there are, and how many of them are up to date. */
export interface Nodes {
  readonly concerned: number;
  readonly programmed: number;
  readonly refused?: number;
  /** What one of those that refused it said. */
  readonly refusal?: { readonly agentId: string; readonly reason: string };
}

export class StandInPolicies implements AsyncDisposable {
  readonly connection: GrpcConnection;
  readonly documents = new Map<string, string>();
  /** Every write, in order: `set` or `delete` and the keys. */
  readonly writes: string[] = [];
  readonly simulations: SimulateRequest[] = [];
  /** Documents that hold this text are refused. */
  refuses: string | undefined;
  /** Whether the next write is done and its answer lost. */
  losesAnswer = false;
  /** What every call fails with. */
  failure: IdentityError | undefined;
  /** What a simulation comes to, or fails with. */
  simulation: MessageInitShape<typeof SimulateResponseSchema> | IdentityError | Promise<never> = { harmless: true };
  readonly #resources = new AsyncDisposableStack();
  readonly #revisions = new Map<string, bigint>();
  readonly #changes = new Current(0);
  #nodes: Nodes = { concerned: 0, programmed: 0 };
  #hits = 0n;
  #revision = 1n;

  private constructor(socket: string) {
    this.connection = this.#resources.use(connectGrpc({ target: { kind: 'unix', path: socket }, clock: systemClock }));
  }

  static async start(): Promise<StandInPolicies> {
    const folder = mkdtempSync(join(tmpdir(), 'policies-'));
    const path = join(folder, 'api.sock');
    const policies = new StandInPolicies(path);
    const server = new GrpcServer<undefined>({ clock: systemClock, authorize: () => policies.#fail() });
    server.addService(Policies, {
      setResources: ({ resources }) => policies.#set(resources),
      deleteResources: ({ names }) => policies.#delete(names),
      listResources: () => policies.#list(),
      watchStatus: (_, { signal }) => policies.#watch(signal),
      simulate: (request) => policies.#simulate(request),
    });
    const listener = await listenUnix(server, path, { mode: 0o600, onAccept: () => undefined });
    policies.#resources.defer(() => rmSync(folder, { recursive: true, force: true }));
    policies.#resources.defer(() => listener.close());
    policies.#resources.defer(() => server.close({ graceMs: 0 }));
    return policies;
  }

  /** The keys of all that is there, in order. */
  get keys(): readonly string[] {
    return [...this.documents.keys()].sort();
  }

  /** The resource that a document holds. */
  resource(key: string): Record<string, unknown> {
    // The cast is sound: what is there was put there as such a document.
    return JSON.parse(this.documents.get(key) ?? '{}') as Record<string, unknown>;
  }

  /** Nodes enforce policies, or do not yet. */
  tell(nodes: Nodes, hits = 0n): void {
    this.#nodes = nodes;
    this.#hits = hits;
    this.#changes.set(this.#changes.value + 1);
  }

  /** Puts or takes away something without anybody being told. */
  meddle(key: string, document: string | undefined): void {
    if (document === undefined) this.documents.delete(key);
    else this.documents.set(key, document);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  #fail(): void {
    if (this.failure !== undefined) throw this.failure;
  }

  #set(resources: readonly Resource[]) {
    const refused = this.refuses;
    if (refused !== undefined && resources.some(({ document }) => document.includes(refused))) {
      throw new IdentityError('invalid_argument', `${refused} is not taken`, { field: 'resources' });
    }
    this.#requireOwn(resources.map(({ name }) => keyOf(name)));
    this.writes.push(`set ${resources.map(({ name }) => keyOf(name)).join(' ')}`);
    this.#revision += 1n;
    for (const { name, document } of resources) {
      this.documents.set(keyOf(name), document);
      this.#revisions.set(keyOf(name), this.#revision);
    }
    this.#changes.set(this.#changes.value + 1);
    const isLost = this.losesAnswer;
    this.losesAnswer = false;
    if (isLost) throw new IdentityError('unavailable', 'connection lost');
    return { revision: this.#revision };
  }

  #delete(names: readonly ResourceName[]) {
    this.#requireOwn(names.map(keyOf));
    this.writes.push(`delete ${names.map(keyOf).join(' ')}`);
    this.#revision += 1n;
    for (const name of names) this.documents.delete(keyOf(name));
    this.#changes.set(this.#changes.value + 1);
    return { revision: this.#revision };
  }

  /** As the CA does, for a login whose prefix is `main`. */
  #requireOwn(keys: readonly string[]): void {
    for (const key of keys) {
      const present = this.documents.get(key);
      if (present === undefined || ownerOfDocument(present) === 'main') continue;
      throw new IdentityError('failed_precondition', `the CA has ${key}, which is of no controller`);
    }
  }

  async *#list() {
    for (const [key, document] of this.documents) {
      yield { resources: [{ name: nameOf(key), document }] };
      await Promise.resolve();
    }
  }

  async *#watch(signal: AbortSignal) {
    const told = new Set<string>();
    const changes = this.#changes.changes(signal);
    while ((await changes.next()).done !== true) {
      const gone = [...told].filter((key) => !this.documents.has(key));
      const statuses = [
        ...[...this.documents.keys()].map((key) => this.#statusOf(key)),
        ...gone.map((key) => ({ name: nameOf(key) })),
      ];
      for (const key of this.documents.keys()) told.add(key);
      yield { statuses, complete: true };
    }
  }

  #statusOf(key: string): Status {
    const { concerned: nodesConcerned, programmed: nodesProgrammed, refused: nodesRefused = 0, refusal } = this.#nodes;
    const refusals = { nodesRefused, ...(refusal === undefined ? {} : { refusal }) };
    // The cast is sound: it is such a document.
    const { resource } = JSON.parse(this.documents.get(key) ?? '') as { resource: { metadata: { generation: number } } };
    const generation = BigInt(resource.metadata.generation);
    const revision = this.#revisions.get(key) ?? 1n;
    return { name: nameOf(key), revision, generation, nodesConcerned, nodesProgrammed, ...refusals, hits: this.#hits };
  }

  async #simulate(request: SimulateRequest) {
    this.simulations.push(request);
    const simulation = await this.simulation;
    if (simulation instanceof IdentityError) throw simulation;
    return simulation;
  }
}

function keyOf(name: Pick<ResourceName, 'kind' | 'namespace' | 'name'> | undefined): string {
  return `${name?.kind}/${name?.namespace}/${name?.name}`;
}

function nameOf(key: string): { kind: string; namespace: string; name: string } {
  const [kind = '', namespace = '', name = ''] = key.split('/');
  return { kind, namespace, name };
}
