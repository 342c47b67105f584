import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';

import { Entry as EntryService, type ListEntriesRequestSchema } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { Entry, EntrySchema } from '../../proto/gen/spire/api/types/entry_pb.ts';
import { SelectorMatch_MatchBehavior } from '../../proto/gen/spire/api/types/selector_pb.ts';
import { FederatesWithMatch_MatchBehavior } from '../../proto/gen/spire/api/types/federateswith_pb.ts';
import type { Status } from '../../proto/gen/spire/api/types/status_pb.ts';
import { connectCa } from '../ca-connection.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { entriesOfFile } from '../entry-file.ts';
import { entryOfOptions, maskOf, parseSelector, recordOfEntry, rowOfEntry, wireId } from '../entry-fields.ts';
import { printRows } from '../output.ts';

type EntryInit = Exclude<MessageInitShape<typeof EntrySchema>, Entry>;

const BATCH_SIZE = 200;

/** `countersign entry create` */
export const createEntries: CommandRun = async (invocation) => {
  const entries = await entriesToCreate(invocation);
  using connection = await connectCa(invocation);
  const client = connection.client(EntryService);
  const created: Entry[] = [];
  const failures: string[] = [];
  for (let start = 0; start < entries.length; start += BATCH_SIZE) {
    const { results } = await client.batchCreateEntry({ entries: entries.slice(start, start + BATCH_SIZE) });
    for (const { status, entry } of results) {
      if (entry !== undefined && status?.code === 0) created.push(entry);
      else failures.push(`not created${entry === undefined ? '' : ` (entry ${entry.id})`}: ${describeStatus(status)}`);
    }
  }
  await printEntries(invocation, created);
  return reportFailures(invocation, failures);
};

async function entriesToCreate(invocation: Invocation): Promise<readonly EntryInit[]> {
  const file = invocation.text('data');
  if (file !== undefined) return entriesOfFile(await readFileOrInput(invocation, file), file);
  const id = invocation.text('entry-id');
  const entry = entryOfOptions(invocation);
  const spiffeId = invocation.requiredText('spiffe-id');
  const [trustDomain] = spiffeId.slice('spiffe://'.length).split('/');
  const parentId = invocation.flag('node') ? wireId(`spiffe://${trustDomain}/spire/server`) : entry.parentId;
  if (parentId === undefined) throw usage(invocation.command, '--parent-id ID is missing (or --node for a group of nodes)');
  if (invocation.texts('selector').length === 0) throw usage(invocation.command, 'at least one --selector TYPE:VALUE is needed');
  return [{ ...entry, id: id ?? '', parentId }];
}

/** `countersign entry update` */
export const updateEntry: CommandRun = async (invocation) => {
  const given = entryOfOptions(invocation);
  if (Object.keys(given).length === 0) throw usage(invocation.command, 'nothing to change; give at least one field');
  using connection = await connectCa(invocation);
  const client = connection.client(EntryService);
  const id = invocation.requiredText('entry-id');
  const entry = given.additionalAttributes === undefined ? given : await withOtherAttributes(client, id, given);
  const { results } = await client.batchUpdateEntry({ entries: [{ ...entry, id }], inputMask: maskOf(entry) });
  const [result] = results;
  if (result?.entry === undefined || result.status?.code !== 0)
    return reportFailures(invocation, [`not updated: ${describeStatus(result?.status)}`]);
  await printEntries(invocation, [result.entry]);
  return 0;
};

/** Adds the attributes that were not given as they are: the API replaces them only together. */
async function withOtherAttributes(client: Client<typeof EntryService>, id: string, given: EntryInit): Promise<EntryInit> {
  const { additionalAttributes: known } = await client.getEntry({ id });
  const { disableX509SvidPrefetch = false, jwtSvidIncludeJti = false } = known ?? {};
  return { ...given, additionalAttributes: { disableX509SvidPrefetch, jwtSvidIncludeJti, ...given.additionalAttributes } };
}

/** `countersign entry delete` */
export const deleteEntries: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const { results } = await connection.client(EntryService).batchDeleteEntry({ ids: [...invocation.texts('entry-id')] });
  const failures: string[] = [];
  for (const { id, status } of results) {
    if (status?.code === 0) invocation.terminal.write(`deleted entry ${id}\n`);
    else failures.push(`not deleted (entry ${id}): ${describeStatus(status)}`);
  }
  return reportFailures(invocation, failures);
};

/** `countersign entry show` */
export const showEntries: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const client = connection.client(EntryService);
  const id = invocation.text('entry-id');
  const entries =
    id === undefined ? await Array.fromAsync(listEntries(client, filterOf(invocation))) : [await client.getEntry({ id })];
  await printEntries(invocation, entries);
  return 0;
};

/** `countersign entry count` */
export const countEntries: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const { count } = await connection.client(EntryService).countEntries({});
  invocation.terminal.write(`${count}\n`);
  return 0;
};

type Filter = MessageInitShape<typeof ListEntriesRequestSchema>['filter'];

async function* listEntries(client: Client<typeof EntryService>, filter: Filter): AsyncGenerator<Entry> {
  let pageToken = '';
  do {
    const page = await client.listEntries({ ...(filter === undefined ? {} : { filter }), pageSize: 1000, pageToken });
    yield* page.entries;
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
}

function filterOf(invocation: Invocation): Filter {
  const spiffeId = invocation.text('spiffe-id');
  const parentId = invocation.text('parent-id');
  const hint = invocation.text('hint');
  const selectors = invocation.texts('selector').map(parseSelector);
  const trustDomains = [...invocation.texts('federates-with')];
  return {
    ...(spiffeId === undefined ? {} : { bySpiffeId: wireId(spiffeId) }),
    ...(parentId === undefined ? {} : { byParentId: wireId(parentId) }),
    ...(hint === undefined ? {} : { byHint: hint }),
    ...(invocation.flag('downstream') ? { byDownstream: true } : {}),
    ...(selectors.length === 0 ? {} : { bySelectors: { selectors, match: SelectorMatch_MatchBehavior.MATCH_SUPERSET } }),
    ...(trustDomains.length === 0
      ? {}
      : { byFederatesWith: { trustDomains, match: FederatesWithMatch_MatchBehavior.MATCH_SUPERSET } }),
  };
}

/** A table is for people; what programs read can be given back to `entry create --data`. */
async function printEntries(invocation: Invocation, entries: readonly Entry[]): Promise<void> {
  const isTable = (invocation.text('output') ?? 'table') === 'table';
  await printRows(invocation, entries.map(isTable ? rowOfEntry : recordOfEntry), 'blocks');
}

function describeStatus(status: Status | undefined): string {
  return status === undefined ? 'the CA gave no reason' : `${status.message} (code ${status.code})`;
}

function reportFailures(invocation: Invocation, failures: readonly string[]): number {
  for (const failure of failures) invocation.terminal.writeError(`${failure}\n`);
  return failures.length === 0 ? 0 : 1;
}
