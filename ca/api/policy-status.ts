import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ResourceStatusSchema, WatchStatusResponseSchema } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { PolicyResource } from '../model.ts';
import type { PolicyStatus, PolicyStatuses } from '../policies/statuses.ts';

type Status = MessageInitShape<typeof ResourceStatusSchema>;
type Response = MessageInitShape<typeof WatchStatusResponseSchema>;

/** A part has at most so many statuses. */
const MAX_STATUSES = 1000;

/** All statuses, then those that changed. It holds what the caller knows, and makes the next part only once the last was read. */
export async function* watchStatus(statuses: PolicyStatuses, signal: AbortSignal): AsyncGenerator<Response, void, undefined> {
  let known: ReadonlyMap<string, PolicyStatus> | undefined;
  for await (const found of statuses.watch(signal)) {
    const changed = [...found].filter(([key, status]) => known?.get(key) !== status).map(([, status]) => statusToProto(status));
    const gone = [...(known ?? [])].filter(([key]) => !found.has(key)).map(([, { policy }]) => goneToProto(policy));
    const all = [...changed, ...gone];
    const isFirst = known === undefined;
    known = found;
    if (all.length > 0 || isFirst) yield* partsOf(all, isFirst);
  }
}

function* partsOf(statuses: readonly Status[], complete: boolean): Generator<Response, void, undefined> {
  let from = 0;
  do {
    const part = statuses.slice(from, from + MAX_STATUSES);
    from += MAX_STATUSES;
    yield { statuses: part, complete: complete && from >= statuses.length };
  } while (from < statuses.length);
}

function statusToProto(status: PolicyStatus): Status {
  const { policy, revision, nodesConcerned, nodesProgrammed, nodesRefused, refusal, hits, wouldDenyHits } = status;
  return {
    name: nameOf(policy),
    revision: BigInt(revision),
    generation: BigInt(policy.generation),
    nodesConcerned,
    nodesProgrammed,
    nodesRefused,
    ...(refusal === undefined ? {} : { refusal }),
    hits: BigInt(hits),
    wouldDenyHits: BigInt(wouldDenyHits),
  };
}

function goneToProto(policy: PolicyResource): Status {
  return { name: nameOf(policy), revision: 0n };
}

function nameOf({ kind, namespace, name }: PolicyResource): Status['name'] {
  return { kind, namespace, name };
}
