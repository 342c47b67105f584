import { create, toBinary } from '@bufbuild/protobuf';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ResourceSchema, WatchResponseSchema } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { BundleSchema } from '../../proto/gen/spire/api/types/bundle_pb.ts';
import { EntrySchema } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { Entry } from '../model.ts';
import type { AgentDelta } from '../registry/registry.ts';
import { bundleToProto } from './bundle-conversion.ts';
import { entryToProto } from './entry-conversion.ts';

type Resource = MessageInitShape<typeof ResourceSchema>;
type Response = MessageInitShape<typeof WatchResponseSchema>;

/** A part has at most so many resources, and not much more than so many bytes: clients take 4 MiB. */
const MAX_RESOURCES = 1000;
const MAX_BYTES = 1024 * 1024;
/** Encoded entries that are kept, because a change goes to many agents at once. */
const MAX_KEPT = 4096;

/** Writes deltas as the messages of the stream. */
export class WatchEncoder {
  readonly #entries = new Map<Entry, Uint8Array>();
  readonly #bundles = new WeakMap<Bundle, Uint8Array>();

  /** The parts of one answer; there is always one, and the last is complete. No `kinds` means all. */
  *responses(
    delta: AgentDelta,
    { feedId, kinds }: { readonly feedId: string; readonly kinds: ReadonlySet<string> },
  ): Generator<Response, void, undefined> {
    const revision = BigInt(delta.revision);
    const part = (resources: Resource[], complete: boolean): Response => {
      return { revision, feedId, snapshot: delta.snapshot, complete, resources };
    };
    let resources: Resource[] = [];
    let bytes = 0;
    for (const resource of this.#resources(delta, kinds)) {
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

  *#resources(delta: AgentDelta, kinds: ReadonlySet<string>): Generator<Resource, void, undefined> {
    const wants = (kind: string): boolean => kinds.size === 0 || kinds.has(kind);
    if (wants('bundle')) {
      for (const { bundle, revision } of delta.bundles) {
        yield { kind: 'bundle', name: bundle.trustDomain.name, revision: BigInt(revision), value: this.#encodeBundle(bundle) };
      }
      for (const name of delta.removedBundles) yield gone('bundle', name, delta.revision);
    }
    if (!wants('entry')) return;
    for (const { entry, revision } of delta.put) {
      yield { kind: 'entry', name: entry.id, revision: BigInt(revision), value: this.#encodeEntry(entry) };
    }
    for (const id of delta.removed) yield gone('entry', id, delta.revision);
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

function gone(kind: string, name: string, revision: number): Resource {
  return { kind, name, revision: BigInt(revision), removed: true };
}
