import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Entry as EntryService } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type {
  BatchCreateEntryRequest,
  BatchDeleteEntryRequest,
  BatchUpdateEntryRequest,
} from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { Entry as ProtoEntry, EntryMask } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { Entry, EntryChange, NewEntry } from '../model.ts';
import type { CreatedEntry, Mutation } from '../store/store.ts';
import { commit, type ApiContext } from './api-context.ts';
import { callerId, type Authorizer } from './authorizer.ts';
import { checkStorable, entryChangeFromProto, entryToProto, newEntryFromProto } from './entry-conversion.ts';
import { syncEntries } from './entry-sync.ts';
import { inOrder, orFailure } from './in-order.ts';
import { attempt, during, itemStatus, ITEM_OK } from './item-status.ts';
import { entryFilterFromProto, pageFromProto } from './list-filters.ts';

const SIMILAR = { code: 6, message: 'similar entry already exists' };

/** What the service needs besides the common context. */
export interface EntryServiceOptions extends ApiContext {
  readonly authorizer: Authorizer;
}

/** `spire.api.server.entry.v1.Entry`: registrations. */
export function entryService(context: EntryServiceOptions): ServiceHandlers<typeof EntryService, Peer> {
  const { registry, trustDomain } = context;
  return {
    countEntries: ({ filter }) => ({ count: registry.entries.count(entryFilterFromProto(filter, trustDomain)) }),
    listEntries: (request) => {
      const { items, nextToken } = registry.entries.list(
        entryFilterFromProto(request.filter, trustDomain),
        pageFromProto(request),
      );
      return { entries: items.map((entry) => entryToProto(entry, request.outputMask)), nextPageToken: nextToken };
    },
    getEntry: ({ id, outputMask }) => {
      if (id === '') throw new IdentityError('invalid_argument', 'missing ID', { field: 'id' });
      const entry = registry.entries.get(id);
      if (entry === undefined) throw new IdentityError('not_found', 'entry not found');
      return entryToProto(entry, outputMask);
    },
    batchCreateEntry: (request, call) => createEntries(context, request, guardOf(context, call)),
    batchUpdateEntry: (request, call) => updateEntries(context, request, guardOf(context, call)),
    batchDeleteEntry: (request, call) => deleteEntries(context, request, guardOf(context, call)),
    getAuthorizedEntries: ({ outputMask }, call) => ({
      entries: registry.authorizedEntries(callerId(call)).map((entry) => entryToProto(entry, outputMask)),
    }),
    syncAuthorizedEntries: (requests, call) => {
      const recheck = (): void | Promise<void> => context.authorizer.recheck(call);
      return syncEntries(registry.authorizedEntries(callerId(call)), requests, { recheck });
    },
  };
}

/** Refuses the entries that the caller may not touch. */
interface Guard {
  readonly id: (id: string) => void;
  readonly entry: (entry: Pick<Entry, 'spiffeId' | 'admin' | 'downstream'>) => void;
}

function guardOf({ authorizer }: EntryServiceOptions, call: Call<Peer>): Guard {
  return { id: (id) => authorizer.checkEntryId(call, id), entry: (entry) => authorizer.checkEntry(call, entry) };
}

async function createEntries(context: ApiContext, { entries, outputMask }: BatchCreateEntryRequest, guard: Guard) {
  const read = entries.map((proto) => readNewEntry(context, proto, guard));
  const wanted = read.filter((item): item is NewEntry => !(item instanceof IdentityError));
  // Nothing to write must not cost a transaction.
  const made = wanted.length === 0 ? [] : await commit(context, (tx) => tx.createEntries(wanted));
  let next = 0;
  const results = read.map((item) => createResult(item instanceof IdentityError ? item : named(made[next++]), outputMask));
  return { results };
}

function readNewEntry(context: ApiContext, proto: ProtoEntry, guard: Guard): NewEntry | IdentityError {
  return orFailure(() => {
    const entry = attempt('failed to convert entry', () => newEntryFromProto(proto, context.trustDomain));
    guard.id(proto.id);
    guard.entry(entry);
    return entry;
  });
}

/** What the store refused says first what was being done; what could not be read says so itself. */
function named(made: CreatedEntry | Error | undefined): CreatedEntry | Error | undefined {
  if (!(made instanceof Error)) return made;
  const error = during('failed to create entry', made);
  return error instanceof Error ? error : made;
}

function createResult(made: CreatedEntry | Error | undefined, mask: EntryMask | undefined) {
  if (made === undefined) throw new IdentityError('internal', 'the store left out a result');
  if (made instanceof Error) return { status: itemStatus(made) };
  return { status: made.kind === 'created' ? ITEM_OK : SIMILAR, entry: entryToProto(made.entry, mask) };
}

async function updateEntries(context: ApiContext, { entries, inputMask, outputMask }: BatchUpdateEntryRequest, guard: Guard) {
  const read = entries.map((proto) => readChange(context, proto, inputMask));
  const ids = read.flatMap((item) => (item instanceof IdentityError ? [] : [item.id]));
  const updates = await commit(context, async (tx) => {
    // In one round trip; each update then costs none.
    await tx.getEntries(ids);
    return inOrder(read, (item) => update(tx, item, guard));
  });
  return {
    results: updates.map((entry) =>
      entry instanceof IdentityError
        ? { status: itemStatus(entry) }
        : { status: ITEM_OK, entry: entryToProto(entry, outputMask) },
    ),
  };
}

type IdentifiedChange = { readonly id: string; readonly change: EntryChange };

function readChange(context: ApiContext, proto: ProtoEntry, mask: EntryMask | undefined): IdentifiedChange | IdentityError {
  return orFailure(() => {
    const change = attempt('failed to convert entry', () => entryChangeFromProto(proto, context.trustDomain, mask));
    return { id: proto.id, change };
  });
}

async function update(tx: Mutation, read: IdentifiedChange | IdentityError, guard: Guard): Promise<Entry> {
  if (read instanceof IdentityError) throw read;
  const { id, change } = read;
  guard.id(id);
  const present = await tx.getEntry(id);
  if (present === undefined) throw new IdentityError('not_found', 'failed to update entry: record not found');
  guard.entry(present);
  guard.entry({ ...present, ...change });
  try {
    checkStorable({ ...present, ...change });
    return await tx.updateEntry(id, change);
  } catch (error) {
    throw during('failed to update entry', error);
  }
}

async function deleteEntries(context: ApiContext, { ids }: BatchDeleteEntryRequest, guard: Guard) {
  const outcomes = await commit(context, async (tx) => {
    await tx.getEntries(ids);
    return inOrder(ids, (id) => remove(tx, id, guard));
  });
  return {
    results: outcomes.map((outcome, index) => ({
      id: ids[index] ?? '',
      status: outcome instanceof IdentityError ? itemStatus(outcome) : ITEM_OK,
    })),
  };
}

async function remove(tx: Mutation, id: string, guard: Guard): Promise<Entry> {
  if (id === '') throw new IdentityError('invalid_argument', 'missing entry ID', { field: 'ids' });
  guard.id(id);
  const present = await tx.getEntry(id);
  if (present !== undefined) guard.entry(present);
  try {
    return await tx.deleteEntry(id);
  } catch (error) {
    if (isIdentityError(error, 'not_found')) throw new IdentityError('not_found', 'entry not found', { cause: error });
    throw during('failed to delete entry', error);
  }
}
