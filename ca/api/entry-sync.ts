import type { MessageInitShape } from '@bufbuild/protobuf';
import { IdentityError } from '../../core/errors.ts';
import type {
  SyncAuthorizedEntriesRequest,
  SyncAuthorizedEntriesResponseSchema,
} from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { EntryMask } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { Entry } from '../model.ts';
import { entryToProto } from './entry-conversion.ts';

/** How many entries, or revisions of entries, go into one message. */
export const ENTRY_PAGE_SIZE = 500;

/** What {@link syncEntries} needs besides the entries. */
export interface SyncOptions {
  /** Whether the agent may still be served; asked before each answer to a further request. Throws to refuse. */
  readonly recheck: () => void | Promise<void>;
  readonly pageSize?: number;
}

type Response = MessageInitShape<typeof SyncAuthorizedEntriesResponseSchema>;

/**
 * The dialogue of SyncAuthorizedEntries: few entries are sent whole; of many, first the revisions of all, then those that the
 * agent asks for, in pages. The mask of the first request holds for the whole stream.
 */
export async function* syncEntries(
  entries: readonly Entry[],
  requests: AsyncIterable<SyncAuthorizedEntriesRequest>,
  { recheck, pageSize = ENTRY_PAGE_SIZE }: SyncOptions,
): AsyncGenerator<Response> {
  const iterator = requests[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done === true) return;
  const mask = checkFirst(first.value);
  if (entries.length <= pageSize) {
    yield { entries: entries.map((entry) => entryToProto(entry, mask)) };
    return;
  }
  yield* pages(entries, pageSize, (page) => ({ entryRevisions: page.map(revisionOf) }));
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  for (let request = await iterator.next(); request.done !== true; request = await iterator.next()) {
    await recheck();
    yield* pages(known(byId, request.value.ids), pageSize, (page) => ({
      entries: page.map((entry) => entryToProto(entry, mask)),
    }));
  }
}

function checkFirst({ ids, outputMask }: SyncAuthorizedEntriesRequest): EntryMask | undefined {
  if (ids.length > 0)
    throw new IdentityError('invalid_argument', 'specifying IDs on initial request is not supported', { field: 'ids' });
  if (outputMask !== undefined && !outputMask.revisionNumber) {
    throw new IdentityError('invalid_argument', 'revision number cannot be masked', { field: 'output_mask.revision_number' });
  }
  return outputMask;
}

function known(byId: ReadonlyMap<string, Entry>, ids: readonly string[]): readonly Entry[] {
  return [...ids].sort().flatMap((id) => byId.get(id) ?? []);
}

function revisionOf({ id, revisionNumber, createdAtSeconds }: Entry) {
  return { id, revisionNumber: BigInt(revisionNumber), createdAt: BigInt(createdAtSeconds) };
}

// At least one message, so that the agent knows that the answer is complete.
function* pages(entries: readonly Entry[], size: number, render: (page: readonly Entry[]) => Response): Generator<Response> {
  for (let start = 0; start === 0 || start < entries.length; start += size) {
    yield { ...render(entries.slice(start, start + size)), more: start + size < entries.length };
  }
}
