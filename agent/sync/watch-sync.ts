import { create, fromBinary } from '@bufbuild/protobuf';

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
import type { AgentEntry } from '../cache/identities.ts';
import { readBundle, readEntry } from './from-wire.ts';
import { RequestQueue } from './request-queue.ts';
import type { SyncContext } from './sync-target.ts';

const KINDS = ['entry', 'bundle'];

/** Where the agent stands in the CA's history. */
interface Position {
  readonly feedId: string;
  readonly revision: bigint;
}

/**
 * Follows `countersign.node.v1.Node/Watch`: the CA pushes what changes, and after a lost connection only what changed since.
 */
export class WatchSync {
  readonly #context: SyncContext;
  #position: Position = { feedId: '', revision: 0n };

  constructor(context: SyncContext) {
    this.#context = context;
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
    const parts = new Parts(requests);
    try {
      for await (const response of this.#context.connection.client(Node).watch(requests, { signal })) {
        parts.add(response);
        if (!response.complete) continue;
        this.#putInForce(parts, response);
        requests.push(create(WatchRequestSchema, { message: { case: 'ack', value: { revision: response.revision } } }));
        onSynced();
      }
    } finally {
      requests.end();
    }
  }

  #putInForce(parts: Parts, { feedId, revision }: WatchResponse): void {
    this.#context.apply(parts.take());
    this.#position = { feedId, revision };
  }
}

/** Collects the parts of an answer until it is complete. */
class Parts {
  readonly #requests: RequestQueue<WatchRequest>;
  #isSnapshot = false;
  #entries = new Map<string, AgentEntry | undefined>();
  #bundles = new Map<string, Bundle | undefined>();

  constructor(requests: RequestQueue<WatchRequest>) {
    this.#requests = requests;
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
  take() {
    const update = {
      isSnapshot: this.#isSnapshot,
      entries: present(this.#entries),
      removedEntries: absent(this.#entries),
      bundles: present(this.#bundles),
      removedBundles: absent(this.#bundles),
    };
    this.#isSnapshot = false;
    this.#entries = new Map();
    this.#bundles = new Map();
    return update;
  }

  #addResource({ kind, name, value, removed }: Resource): void {
    if (kind === 'entry') {
      const wire = removed ? undefined : fromBinary(EntrySchema, value);
      this.#entries.set(name, wire === undefined || wire.storeSvid ? undefined : readEntry(wire));
    } else if (kind === 'bundle') {
      this.#bundles.set(name, removed ? undefined : readBundle(fromBinary(BundleSchema, value)));
    }
  }

  // What was in force under that name stays, but not over a snapshot: an entry that cannot be read gives no identity.
  #refuse({ kind, name, revision }: Resource, error: unknown): void {
    const message = error instanceof Error ? error.message : 'unreadable';
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
