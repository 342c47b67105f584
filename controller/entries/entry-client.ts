import type { Client } from '@connectrpc/connect';
import { IdentityError } from '../../core/errors.ts';
import { Entry as EntryService } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { Entry } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { Status } from '../../proto/gen/spire/api/types/status_pb.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import type { DesiredEntry } from '../ports.ts';
import { actualEntry, DECLARED_FIELDS, READ_FIELDS, wireEntry, wireFields, type ActualEntry } from './entry-wire.ts';
import { statusError } from './status-error.ts';

/** An entry with the ID that it has or shall have. */
export interface IdentifiedEntry {
  readonly id: string;
  readonly entry: DesiredEntry;
}

/** What became of one entry that was to be made. */
export type CreateResult =
  | { readonly kind: 'created'; readonly actual: ActualEntry }
  /** One with the same SPIFFE ID, parent and selectors was there already. */
  | { readonly kind: 'exists'; readonly actual: ActualEntry }
  | { readonly kind: 'refused'; readonly error: IdentityError };

/** What became of one entry that was to be changed. */
export type UpdateResult =
  | { readonly kind: 'updated'; readonly actual: ActualEntry }
  | { readonly kind: 'gone' }
  | { readonly kind: 'refused'; readonly error: IdentityError };

const PAGE_SIZE = 500;
// Longer than the CA takes for a batch on a slow disk, shorter than anybody wants to wait for the next attempt.
const TIMEOUT_MS = 30_000;

/**
 * The CA's entries, through the API that SPIRE has as well. Failures of a whole call are thrown as IdentityError; what befell one
 * entry is its result.
 */
export class EntryClient {
  readonly #client: Client<typeof EntryService>;

  constructor(connection: Pick<GrpcConnection, 'client'>) {
    this.#client = connection.client(EntryService);
  }

  /** All entries, in pages. */
  async *list(signal: AbortSignal): AsyncGenerator<readonly ActualEntry[]> {
    for await (const page of this.#pages(READ_FIELDS, signal)) yield page.map(actualEntry);
  }

  /** The ID and revision of every entry: all that is needed to see that nothing changed. */
  async *listRevisions(signal: AbortSignal): AsyncGenerator<readonly Pick<ActualEntry, 'id' | 'revision'>[]> {
    for await (const page of this.#pages({ revisionNumber: true }, signal)) {
      yield page.map(({ id, revisionNumber }) => ({ id, revision: revisionNumber }));
    }
  }

  /** One entry; undefined when there is none of this ID. */
  async get(id: string, signal: AbortSignal): Promise<ActualEntry | undefined> {
    try {
      return actualEntry(await this.#client.getEntry({ id, outputMask: READ_FIELDS }, { signal, timeoutMs: TIMEOUT_MS }));
    } catch (error) {
      const known = toIdentityError(error);
      if (known.code === 'not_found') return undefined;
      throw known;
    }
  }

  async create(entries: readonly IdentifiedEntry[], signal: AbortSignal): Promise<readonly CreateResult[]> {
    const request = { entries: entries.map(({ id, entry }) => wireEntry(id, entry)), outputMask: READ_FIELDS };
    const { results } = await call(this.#client.batchCreateEntry(request, { signal, timeoutMs: TIMEOUT_MS }));
    return inFull(results, entries.length).map(({ status, entry }) => createResult(status, entry));
  }

  async update(entries: readonly IdentifiedEntry[], signal: AbortSignal): Promise<readonly UpdateResult[]> {
    const request = {
      entries: entries.map(({ id, entry }) => wireFields(id, entry)),
      inputMask: DECLARED_FIELDS,
      outputMask: READ_FIELDS,
    };
    const { results } = await call(this.#client.batchUpdateEntry(request, { signal, timeoutMs: TIMEOUT_MS }));
    return inFull(results, entries.length).map(({ status, entry }) => updateResult(status, entry));
  }

  /** @returns why each was not deleted; `not_found` for one that was gone already */
  async delete(ids: readonly string[], signal: AbortSignal): Promise<readonly (IdentityError | undefined)[]> {
    const { results } = await call(this.#client.batchDeleteEntry({ ids: [...ids] }, { signal, timeoutMs: TIMEOUT_MS }));
    return inFull(results, ids.length).map(({ status }) => statusError(status));
  }

  async *#pages(outputMask: typeof READ_FIELDS, signal: AbortSignal): AsyncGenerator<readonly Entry[]> {
    for (let pageToken = ''; ;) {
      const request = { outputMask, pageSize: PAGE_SIZE, pageToken };
      const page = await call(this.#client.listEntries(request, { signal, timeoutMs: TIMEOUT_MS }));
      yield page.entries;
      if (page.nextPageToken === '') return;
      pageToken = page.nextPageToken;
    }
  }
}

async function call<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw toIdentityError(error);
  }
}

function inFull<T>(results: readonly T[], count: number): readonly T[] {
  if (results.length === count) return results;
  throw new IdentityError('internal', `the CA answered ${results.length} results for ${count} entries`);
}

function createResult(status: Status | undefined, entry: Entry | undefined): CreateResult {
  const error = statusError(status);
  if (entry !== undefined && error === undefined) return { kind: 'created', actual: actualEntry(entry) };
  if (entry !== undefined && error?.code === 'already_exists') return { kind: 'exists', actual: actualEntry(entry) };
  return { kind: 'refused', error: error ?? new IdentityError('internal', 'the CA answered without an entry') };
}

function updateResult(status: Status | undefined, entry: Entry | undefined): UpdateResult {
  const error = statusError(status);
  if (error?.code === 'not_found') return { kind: 'gone' };
  if (entry !== undefined && error === undefined) return { kind: 'updated', actual: actualEntry(entry) };
  return { kind: 'refused', error: error ?? new IdentityError('internal', 'the CA answered without an entry') };
}
