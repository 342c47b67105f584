import { create, fromBinary } from '@bufbuild/protobuf';

import { IdentityError } from '../../core/errors.ts';
import {
  Node,
  WatchRequestSchema,
  type Resource,
  type WatchRequest,
  type WatchResponse,
} from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { BundleSchema } from '../../proto/gen/spire/api/types/bundle_pb.ts';
import { EntrySchema } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { Logger } from '../../runtime/log.ts';
import { SETTINGS } from '../authz/policy-update.ts';
import type { AgentEntry } from '../cache/identities.ts';
import { readBundle, readEntry } from './from-wire.ts';
import { PolicyParts } from './policy-parts.ts';
import { RequestQueue } from './request-queue.ts';
import type { SyncContext, SyncUpdate } from './sync-target.ts';

const KINDS = ['entry', 'bundle', 'policy', 'workload', 'settings'];

/** Where the agent stands in the CA's history. */
interface Position {
  readonly feedId: string;
  readonly revision: bigint;
}

const NOWHERE: Position = { feedId: '', revision: 0n };

/**
 * Follows `countersign.node.v1.Node/Watch`: the CA pushes what changes, and after a lost connection only what changed since.
 */
export class WatchSync {
  readonly #context: SyncContext;
  #position: Position = NOWHERE;
  #deliversPolicy = false;

  constructor(context: SyncContext) {
    this.#context = context;
  }

  /** Whether the CA delivers policy: one that does sends settings with its full state. */
  get deliversPolicy(): boolean {
    return this.#deliversPolicy;
  }

  /** Has the next stream begin with the full state: what is in force is no longer what this stream brought. */
  startOver(): void {
    this.#position = NOWHERE;
  }

  /**
   * Follows one stream until it ends.
   *
   * @param onSynced called whenever what the CA sent so far is in force
   * @throws what the client call rejects with; `unimplemented` from a CA that does not know the service
   */
  async follow(onSynced: () => void, signal: AbortSignal): Promise<void> {
    const requests = new RequestQueue<WatchRequest>();
    const { feedId, revision: resumeRevision } = this.#position;
    const subscribe = { feedId, resumeRevision, kinds: KINDS };
    requests.push(create(WatchRequestSchema, { message: { case: 'subscribe', value: subscribe } }));
    const parts = new Parts(requests, this.#context.log);
    try {
      for await (const response of this.#context.connection.client(Node).watch(requests, { signal })) {
        parts.add(response);
        if (!response.complete) continue;
        await this.#putInForce(parts, response);
        requests.push(create(WatchRequestSchema, { message: { case: 'ack', value: { revision: response.revision } } }));
        onSynced();
      }
    } finally {
      requests.end();
    }
  }

  async #putInForce(parts: Parts, { feedId, revision }: WatchResponse): Promise<void> {
    const update = parts.take(revision);
    this.#noteDelivery(update);
    await this.#context.apply(update);
    this.#position = { feedId, revision };
  }

  // A CA that did not deliver policy and now does has left out policies of before: only its full state has them all.
  #noteDelivery({ isSnapshot, policy }: SyncUpdate): void {
    const hasSettings = policy?.settings.has(SETTINGS) ?? false;
    if (isSnapshot) this.#deliversPolicy = hasSettings;
    if (!hasSettings || this.#deliversPolicy) return;
    this.startOver();
    throw new IdentityError('unavailable', 'the CA has begun to deliver policy; watching from the start');
  }
}

/** Collects the parts of an answer until it is complete. */
class Parts {
  readonly #requests: RequestQueue<WatchRequest>;
  readonly #log: Logger;
  #isSnapshot = false;
  #entries = new Map<string, AgentEntry | undefined>();
  #bundles = new Map<string, Bundle | undefined>();
  readonly #policy = new PolicyParts();

  constructor(requests: RequestQueue<WatchRequest>, log: Logger) {
    this.#requests = requests;
    this.#log = log;
  }

  add({ snapshot, resources }: WatchResponse): void {
    this.#isSnapshot ||= snapshot;
    for (const resource of resources) {
      try {
        this.#addResource(resource);
      } catch (error) {
        this.#refuse(resource, error);
      }
    }
  }

  /** Everything since the last time, as one update. */
  take(revision: bigint): SyncUpdate {
    const isSnapshot = this.#isSnapshot;
    const update = {
      isSnapshot,
      entries: present(this.#entries),
      removedEntries: absent(this.#entries),
      bundles: present(this.#bundles),
      removedBundles: absent(this.#bundles),
      policy: this.#policy.take({ isSnapshot, revision }),
    };
    this.#isSnapshot = false;
    this.#entries = new Map();
    this.#bundles = new Map();
    return update;
  }

  #addResource(resource: Resource): void {
    const { kind, name, value, removed } = resource;
    if (kind === 'entry') {
      const wire = removed ? undefined : fromBinary(EntrySchema, value);
      this.#entries.set(name, wire === undefined || wire.storeSvid ? undefined : readEntry(wire));
    } else if (kind === 'bundle') {
      this.#bundles.set(name, removed ? undefined : readBundle(fromBinary(BundleSchema, value)));
    } else {
      this.#policy.add(resource);
    }
  }

  // What was in force under that name stays, but not over a snapshot: an entry that cannot be read gives no identity. A policy
  // that cannot be read is none that stays: what it may concern is closed.
  #refuse({ kind, name, revision }: Resource, error: unknown): void {
    const message = error instanceof Error ? error.message : 'unreadable';
    this.#log.warn({ err: error, kind, name }, 'the ca sent something that cannot be used');
    const nack = { kind, name, revision, error: message };
    this.#requests.push(create(WatchRequestSchema, { message: { case: 'nack', value: nack } }));
  }
}

function present<T>(found: ReadonlyMap<string, T | undefined>): T[] {
  return [...found.values()].filter((value) => value !== undefined);
}

function absent(found: ReadonlyMap<string, unknown>): string[] {
  return [...found].filter(([, value]) => value === undefined).map(([name]) => name);
}
