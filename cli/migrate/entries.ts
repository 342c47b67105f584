// Registration entries: which of SPIRE's are here, which are not, which differ.
import { clone, create } from '@bufbuild/protobuf';

import { Entry as EntryService } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { EntryMaskSchema, EntrySchema, type Entry } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { formatWireId } from '../entry-fields.ts';

/** What stands an entry of SPIRE in relation to what is here. */
export interface EntryFinding {
  readonly verdict: 'same' | 'missing' | 'changed' | 'skipped' | 'left' | 'extra';
  readonly entry: Entry;
  /** The ID of the entry here, where there is one. */
  readonly hereId?: string;
  /** Why it is skipped, which fields differ, or what to know about it. */
  readonly note?: string;
}

/** What decides about entries. */
export interface EntryChoice {
  /** IDs that begin with one of these and a dot belong to a controller, which makes them anew. */
  readonly leavePrefixes: readonly string[];
  readonly nowMs: number;
}

/** Every entry of a server. */
export async function allEntries(connection: GrpcConnection): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  let pageToken = '';
  do {
    const page = await connection.client(EntryService).listEntries({ pageSize: 500, pageToken });
    entries.push(...page.entries);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return entries;
}

/** Compares SPIRE's entries with ours: by entry ID, else by SPIFFE ID, parent and selectors together. */
export function compareEntries(spire: readonly Entry[], ours: readonly Entry[], choice: EntryChoice): readonly EntryFinding[] {
  const byId = new Map(ours.map((entry) => [entry.id, entry]));
  const byKey = new Map(ours.map((entry) => [keyOf(entry), entry]));
  const matched = new Set<string>();
  const findings = spire.map((entry): EntryFinding => {
    const here = byId.get(entry.id) ?? byKey.get(keyOf(entry));
    if (here !== undefined) matched.add(here.id);
    return findingOf(entry, here, choice);
  });
  const extra = ours
    .filter(({ id }) => !matched.has(id))
    .map((entry): EntryFinding => ({ verdict: 'extra', entry, hereId: entry.id }));
  return [...findings, ...extra];
}

function findingOf(entry: Entry, here: Entry | undefined, choice: EntryChoice): EntryFinding {
  if (entry.expiresAt !== 0n && Number(entry.expiresAt) * 1000 <= choice.nowMs) {
    return { verdict: 'skipped', entry, note: 'it has expired' };
  }
  if (isTokenBound(entry)) {
    return { verdict: 'skipped', entry, note: 'it is bound to an agent of a join token, whose ID is another after the move' };
  }
  if (here === undefined && choice.leavePrefixes.some((prefix) => entry.id.startsWith(`${prefix}.`))) {
    return { verdict: 'left', entry, note: 'a controller owns it, and has not made it here yet' };
  }
  const stored = entry.storeSvid ? { note: 'storeSvid: no agent of countersign stores SVIDs elsewhere' } : {};
  if (here === undefined) return { verdict: 'missing', entry, ...stored };
  const fields = differingFields(entry, here);
  if (fields.length === 0) return { verdict: 'same', entry, hereId: here.id, ...stored };
  return { verdict: 'changed', entry, hereId: here.id, note: `differs in ${fields.join(', ')}` };
}

function isTokenBound({ spiffeId, parentId }: Entry): boolean {
  return [spiffeId, parentId].some((id) => id?.path.startsWith('/spire/agent/join_token/') === true);
}

function keyOf({ spiffeId, parentId, selectors }: Entry): string {
  return JSON.stringify([formatWireId(spiffeId), formatWireId(parentId), selectorsOf(selectors)]);
}

function selectorsOf(selectors: Entry['selectors']): string[] {
  return selectors.map(({ type, value }) => `${type}:${value}`).sort();
}

const FIELDS: Readonly<Record<string, (entry: Entry) => unknown>> = {
  spiffeId: ({ spiffeId }) => formatWireId(spiffeId),
  parentId: ({ parentId }) => formatWireId(parentId),
  selectors: ({ selectors }) => selectorsOf(selectors),
  x509SvidTtl: ({ x509SvidTtl }) => x509SvidTtl,
  jwtSvidTtl: ({ jwtSvidTtl }) => jwtSvidTtl,
  federatesWith: ({ federatesWith }) => federatesWith.toSorted(),
  admin: ({ admin }) => admin,
  downstream: ({ downstream }) => downstream,
  expiresAt: ({ expiresAt }) => String(expiresAt),
  dnsNames: ({ dnsNames }) => dnsNames,
  storeSvid: ({ storeSvid }) => storeSvid,
  hint: ({ hint }) => hint,
  additionalAttributes: ({ additionalAttributes: known }) => [
    known?.disableX509SvidPrefetch ?? false,
    known?.jwtSvidIncludeJti ?? false,
  ],
};

function differingFields(left: Entry, right: Entry): string[] {
  return Object.entries(FIELDS).flatMap(([name, read]) =>
    JSON.stringify(read(left)) === JSON.stringify(read(right)) ? [] : [name],
  );
}

/** What became of the entries of one request. */
export interface EntryOutcome {
  readonly id: string;
  /** Missing when it went well. */
  readonly fault?: string;
}

const BATCH_SIZE = 200;

/** Creates entries under their own IDs. */
export async function createHere(ca: GrpcConnection, entries: readonly Entry[]): Promise<readonly EntryOutcome[]> {
  const outcomes: EntryOutcome[] = [];
  for (let start = 0; start < entries.length; start += BATCH_SIZE) {
    const batch = entries.slice(start, start + BATCH_SIZE);
    const { results } = await ca.client(EntryService).batchCreateEntry({ entries: batch });
    outcomes.push(...results.map(({ status }, index) => outcomeOf(batch[index]?.id ?? '', status)));
  }
  return outcomes;
}

/** Gives entries here the fields that they have in SPIRE; custom claims stay. */
export async function updateHere(ca: GrpcConnection, findings: readonly EntryFinding[]): Promise<readonly EntryOutcome[]> {
  const inputMask = create(EntryMaskSchema, Object.fromEntries(Object.keys(FIELDS).map((field) => [field, true])));
  const outcomes: EntryOutcome[] = [];
  for (let start = 0; start < findings.length; start += BATCH_SIZE) {
    const batch = findings.slice(start, start + BATCH_SIZE);
    const entries = batch.map(({ entry, hereId = '' }) => withId(entry, hereId));
    const { results } = await ca.client(EntryService).batchUpdateEntry({ entries, inputMask });
    outcomes.push(...results.map(({ status }, index) => outcomeOf(entries[index]?.id ?? '', status)));
  }
  return outcomes;
}

function outcomeOf(id: string, status: { readonly code: number; readonly message: string } | undefined): EntryOutcome {
  if (status?.code === 0) return { id };
  return { id, fault: status === undefined ? 'the CA gave no reason' : `${status.message} (code ${status.code})` };
}

function withId(entry: Entry, id: string): Entry {
  const copy = clone(EntrySchema, entry);
  copy.id = id;
  return copy;
}
