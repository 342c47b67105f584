import { create, toBinary } from '@bufbuild/protobuf';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { WatchResponseSchema } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import type { AuthorizationSettingsSchema, ResourceSchema } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { BundleSchema } from '../../proto/gen/spire/api/types/bundle_pb.ts';
import { EntrySchema } from '../../proto/gen/spire/api/types/entry_pb.ts';
import { encodeMessage } from '../../runtime/grpc/encoded-message.ts';
import type { EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { Entry } from '../model.ts';
import type { AgentDelta } from '../registry/registry.ts';
import type { Workload } from '../registry/workloads.ts';
import { AuthorizationEncoder } from './authorization-encoding.ts';
import { bundleToProto } from './bundle-conversion.ts';
import { entryToProto } from './entry-conversion.ts';

type Resource = MessageInitShape<typeof ResourceSchema>;
type Response = MessageInitShape<typeof WatchResponseSchema>;

/** A part has at most so many resources, and not much more than so many bytes: clients take 4 MiB. */
const MAX_RESOURCES = 1000;
const MAX_BYTES = 1024 * 1024;
/** Encoded entries that are kept, because a change goes to many agents at once. */
const MAX_KEPT = 4096;

/** To whom an answer goes. */
export interface Recipient {
  readonly feedId: string;
  /** The kinds that it asked for; none means all. */
  readonly kinds: ReadonlySet<string>;
  /** Sent along, to who asked for them. */
  readonly settings?: MessageInitShape<typeof AuthorizationSettingsSchema> | undefined;
}

/** Writes deltas as the messages of the stream. */
export class WatchEncoder {
  readonly #entries = new Map<Entry, Uint8Array>();
  readonly #bundles = new WeakMap<Bundle, Uint8Array>();
  readonly #authorization = new AuthorizationEncoder();
  /** Parts with workloads, by the list that all agents share, and by the feed's name for them. */
  readonly #workloads = new WeakMap<readonly Workload[], Map<string, readonly EncodedMessage[]>>();

  /** The parts of one answer; there is always one, and the last is complete. No `kinds` means all. */
  *responses(delta: AgentDelta, recipient: Recipient): Generator<Response | EncodedMessage, void, undefined> {
    const shared = wants(recipient, 'workload') ? (delta.authorization?.sharedWorkloads ?? []) : [];
    // What is said of one of them later in the answer counts.
    if (shared.length > 0) yield* this.#sharedParts(shared, delta, recipient);
    yield* partsOf(this.#resources(delta, recipient), delta, recipient.feedId);
  }

  /** Workloads, encoded once for all agents that get a snapshot of them. */
  #sharedParts(shared: readonly Workload[], delta: AgentDelta, { feedId }: Recipient): readonly EncodedMessage[] {
    let byFeed = this.#workloads.get(shared);
    if (byFeed === undefined) this.#workloads.set(shared, (byFeed = new Map()));
    let parts = byFeed.get(feedId);
    if (parts === undefined) {
      const all = [...partsOf(this.#authorization.workloads(shared), delta, feedId)];
      parts = all.map((part) => encodeMessage(WatchResponseSchema, { ...part, complete: false }));
      byFeed.set(feedId, parts);
    }
    return parts;
  }

  *#resources(delta: AgentDelta, recipient: Recipient): Generator<Resource, void, undefined> {
    if (wants(recipient, 'bundle')) {
      for (const { bundle, revision } of delta.bundles) {
        yield { kind: 'bundle', name: bundle.trustDomain.name, revision: BigInt(revision), value: this.#encodeBundle(bundle) };
      }
      for (const name of delta.removedBundles) yield gone('bundle', name, delta.revision);
    }
    if (wants(recipient, 'entry')) {
      for (const { entry, revision } of delta.put) {
        yield { kind: 'entry', name: entry.id, revision: BigInt(revision), value: this.#encodeEntry(entry) };
      }
      for (const id of delta.removed) yield gone('entry', id, delta.revision);
    }
    yield* this.#authorizationResources(delta, recipient);
  }

  *#authorizationResources({ authorization, revision }: AgentDelta, recipient: Recipient): Generator<Resource, void, undefined> {
    const { settings } = recipient;
    if (settings !== undefined && wants(recipient, 'settings')) yield this.#authorization.settings(settings, revision);
    if (authorization === undefined) return;
    if (wants(recipient, 'policy')) {
      yield* this.#authorization.policies(authorization.policies);
      for (const name of authorization.removedPolicies) yield gone('policy', name, revision);
    }
    if (!wants(recipient, 'workload')) return;
    yield* this.#authorization.workloads(authorization.workloads);
    for (const name of authorization.removedWorkloads) yield gone('workload', name, revision);
  }

  #encodeEntry(entry: Entry): Uint8Array {
    let bytes = this.#entries.get(entry);
    if (bytes === undefined) {
      bytes = toBinary(EntrySchema, create(EntrySchema, entryToProto(entry)));
      if (this.#entries.size === MAX_KEPT) this.#entries.clear();
      this.#entries.set(entry, bytes);
    }
    return bytes;
  }

  #encodeBundle(bundle: Bundle): Uint8Array {
    let bytes = this.#bundles.get(bundle);
    if (bytes === undefined) {
      bytes = toBinary(BundleSchema, create(BundleSchema, bundleToProto(bundle)));
      this.#bundles.set(bundle, bytes);
    }
    return bytes;
  }
}

function* partsOf(all: Iterable<Resource>, delta: AgentDelta, feedId: string): Generator<Response, void, undefined> {
  const part = (resources: Resource[], complete: boolean): Response => {
    return { revision: BigInt(delta.revision), feedId, snapshot: delta.snapshot, complete, resources };
  };
  let resources: Resource[] = [];
  let bytes = 0;
  for (const resource of all) {
    if (resources.length === MAX_RESOURCES || bytes > MAX_BYTES) {
      yield part(resources, false);
      resources = [];
      bytes = 0;
    }
    resources.push(resource);
    bytes += resource.value?.length ?? 0;
  }
  yield part(resources, true);
}

function wants({ kinds }: Recipient, kind: string): boolean {
  return kinds.size === 0 || kinds.has(kind);
}

function gone(kind: string, name: string, revision: number): Resource {
  return { kind, name, revision: BigInt(revision), removed: true };
}
