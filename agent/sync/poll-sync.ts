import { create } from '@bufbuild/protobuf';

import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import {
  Entry,
  SyncAuthorizedEntriesRequestSchema,
  type EntryRevision,
  type SyncAuthorizedEntriesRequest,
  type SyncAuthorizedEntriesResponse,
} from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { Entry as WireEntry } from '../../proto/gen/spire/api/types/entry_pb.ts';
import { toIdentityError } from '../../runtime/grpc-client.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { AgentEntry } from '../cache/identities.ts';
import { readBundle, readEntry } from './from-wire.ts';
import { RequestQueue } from './request-queue.ts';
import type { SyncContext } from './sync-target.ts';

const RPC_TIMEOUT_MS = 30_000;

/** An entry that was received, so that the next round asks for what is newer only. */
interface Known {
  readonly revisionNumber: bigint;
  readonly createdAt: bigint;
  /** Undefined when it could not be read, or is not for the Workload API. */
  readonly entry: AgentEntry | undefined;
}

/** Synchronises by asking, for a SPIRE server: revisions of all authorized entries, then those that are new or changed. */
export class PollSync {
  readonly #context: SyncContext;
  #known = new Map<string, Known>();

  constructor(context: SyncContext) {
    this.#context = context;
  }

  /** One round. @throws what the client calls reject with */
  async synchronise(signal: AbortSignal): Promise<void> {
    this.#known = await this.#fetchEntries(signal);
    const entries = [...this.#known.values()].map(({ entry }) => entry).filter((entry) => entry !== undefined);
    const bundles = await this.#fetchBundles(entries, signal);
    await this.#context.apply({ isSnapshot: true, entries, removedEntries: [], bundles, removedBundles: [] });
  }

  async #fetchEntries(signal: AbortSignal): Promise<Map<string, Known>> {
    const round = new Round(this.#known, (wire) => this.#read(wire));
    const requests = new RequestQueue<SyncAuthorizedEntriesRequest>();
    // No mask: every field, the TTLs and DNS names included, which tell whether a certificate has to be replaced.
    requests.push(create(SyncAuthorizedEntriesRequestSchema, {}));
    const options = { signal, timeoutMs: RPC_TIMEOUT_MS };
    try {
      for await (const response of this.#context.connection.client(Entry).syncAuthorizedEntries(requests, options)) {
        const ids = round.receive(response);
        // Nothing more is asked for: the server ends the stream when this side has.
        if (ids === undefined) requests.end();
        else if (ids.length > 0) requests.push(create(SyncAuthorizedEntriesRequestSchema, { ids: [...ids] }));
      }
    } finally {
      requests.end();
    }
    return round.found;
  }

  #read(wire: WireEntry): AgentEntry | undefined {
    if (wire.storeSvid) return undefined;
    try {
      return readEntry(wire);
    } catch (err) {
      this.#context.log.warn({ err, entryId: wire.id }, 'the ca sent an entry that cannot be used');
      return undefined;
    }
  }

  async #fetchBundles(entries: readonly AgentEntry[], signal: AbortSignal): Promise<Bundle[]> {
    const { connection, trustDomain } = this.#context;
    const client = connection.client(BundleService);
    const own = readBundle(await client.getBundle({}, { signal, timeoutMs: RPC_TIMEOUT_MS }), trustDomain);
    const names = [...new Set(entries.flatMap(({ federatesWith }) => federatesWith))].sort();
    const foreign = await Promise.all(names.map((name) => this.#fetchFederated(name, signal)));
    return [own, ...foreign.filter((bundle) => bundle !== undefined)];
  }

  async #fetchFederated(trustDomain: string, signal: AbortSignal): Promise<Bundle | undefined> {
    const client = this.#context.connection.client(BundleService);
    try {
      return readBundle(await client.getFederatedBundle({ trustDomain }, { signal, timeoutMs: RPC_TIMEOUT_MS }));
    } catch (error) {
      const { code } = toIdentityError(error);
      if (code === 'not_found') return undefined;
      if (code !== 'invalid_argument') throw error;
      this.#context.log.warn({ err: error, trustDomain }, 'the ca sent a federated bundle that cannot be used');
      return undefined;
    }
  }
}

/** One exchange: the server names entries with their revisions, the agent asks for those it lacks, the server sends them. */
class Round {
  readonly found = new Map<string, Known>();
  readonly #before: ReadonlyMap<string, Known>;
  readonly #read: (wire: WireEntry) => AgentEntry | undefined;
  readonly #missing = new Set<string>();
  #allNamed = false;

  constructor(before: ReadonlyMap<string, Known>, read: (wire: WireEntry) => AgentEntry | undefined) {
    this.#before = before;
    this.#read = read;
  }

  /** Takes in one message; returns the IDs to ask for now, or undefined when nothing more is to come. */
  receive({ entryRevisions, entries, more }: SyncAuthorizedEntriesResponse): readonly string[] | undefined {
    for (const revision of entryRevisions) this.#name(revision);
    for (const wire of entries) this.#keep(wire);
    if (this.#allNamed) return more || this.#missing.size > 0 ? this.#leftAfter(more) : undefined;
    if (more) return [];
    this.#allNamed = true;
    return this.#missing.size === 0 ? undefined : [...this.#missing];
  }

  // The last page of entries: what the server did not send is gone by now.
  #leftAfter(more: boolean): readonly string[] | undefined {
    if (more) return [];
    this.#missing.clear();
    return undefined;
  }

  #name({ id, revisionNumber, createdAt }: EntryRevision): void {
    const known = this.#before.get(id);
    const isCurrent = known?.revisionNumber === revisionNumber && (createdAt === 0n || known.createdAt === createdAt);
    if (known !== undefined && isCurrent) this.found.set(id, known);
    else this.#missing.add(id);
  }

  #keep(wire: WireEntry): void {
    this.#missing.delete(wire.id);
    const { id, revisionNumber, createdAt } = wire;
    const known = this.#before.get(id);
    const isCurrent = known?.revisionNumber === revisionNumber && known.createdAt === createdAt;
    this.found.set(id, isCurrent ? known : { revisionNumber, createdAt, entry: this.#read(wire) });
  }
}
