import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import {
  Entry,
  type ListEntriesRequest_Filter,
  type ListEntriesRequest_FilterSchema,
  type SyncAuthorizedEntriesRequestSchema,
} from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { Entry as ProtoEntry, EntrySchema } from '../../../../proto/gen/spire/api/types/entry_pb.ts';
import { SelectorMatch_MatchBehavior as Match } from '../../../../proto/gen/spire/api/types/selector_pb.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestTestAgent, type TestAgent } from '../../../support/test-agent.ts';

type Init = Exclude<MessageInitShape<typeof EntrySchema>, ProtoEntry>;
type Filter = Exclude<MessageInitShape<typeof ListEntriesRequest_FilterSchema>, ListEntriesRequest_Filter>;
const own = (path: string) => ({ trustDomain: 'example.org', path });
const entryOf = (name: string, change: Init = {}): Init => ({
  spiffeId: own(`/${name}`),
  parentId: own('/spire/agent/x509pop/node'),
  selectors: [{ type: 'unix', value: `user:${name}` }],
  ...change,
});

let ca: RunningCa;
beforeAll(async () => {
  ca = await RunningCa.start();
});
afterAll(() => ca[Symbol.asyncDispose]());

const entries = () => ca.local(Entry);
async function made(...inits: Init[]): Promise<string[]> {
  const { results } = await entries().batchCreateEntry({ entries: inits });
  return results.map(({ entry }) => entry?.id ?? '');
}

describe('entry.v1', () => {
  test('[SPIRE entry.v1.BatchCreateEntry] makes entries, tells similar ones and refuses faulty ones, each for itself', async () => {
    const selectors = [
      { type: 'a', value: '2' },
      { type: 'a', value: '1' },
    ];
    const { results } = await entries().batchCreateEntry({
      entries: [
        entryOf('create-1', { hint: 'h', dnsNames: ['db.example.org'], x509SvidTtl: 60, selectors }),
        entryOf('create-1', { hint: 'other', selectors: selectors.toReversed() }),
        entryOf('create-2', { selectors: [] }),
        entryOf('create-3', { id: 'my-entry' }),
        entryOf('create-4', { federatesWith: ['unknown.example'] }),
        entryOf('create-5', { federatesWith: ['spiffe://example.org/any'] }),
      ],
    });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 6, 3, 0, 9, 0]);
    expect(results[4]?.status?.message).toMatch(/^failed to create entry: .*"unknown.example"/);
    expect(results[5]?.entry?.federatesWith).toEqual(['example.org']);
    expect(results[0]?.entry).toMatchObject({ hint: 'h', x509SvidTtl: 60, dnsNames: ['db.example.org'], revisionNumber: 0n });
    expect(results[1]?.entry?.id).toBe(results[0]?.entry?.id);
    expect(results[2]?.status?.message).toBe('failed to convert entry: selectors: selector list is empty');
    expect(results[3]?.entry?.id).toBe('my-entry');
    expect(Number(results[0]?.entry?.createdAt)).toBeGreaterThan(1_700_000_000);
  });

  test('[SPIRE entry.v1.BatchCreateEntry] answers with the fields of the output mask', async () => {
    const { results } = await entries().batchCreateEntry({ entries: [entryOf('masked')], outputMask: { spiffeId: true } });
    expect(results[0]?.entry).toMatchObject({ spiffeId: own('/masked'), selectors: [] });
    expect(results[0]?.entry?.parentId).toBeUndefined();
    expect(results[0]?.entry?.id).not.toBe('');
  });

  test('[SPIRE entry.v1.GetEntry] finds an entry by its ID', async () => {
    const [id = ''] = await made(entryOf('get'));
    expect((await entries().getEntry({ id })).spiffeId).toMatchObject(own('/get'));
    expect(await failureOf(entries().getEntry({ id: '' }))).toMatchObject({
      code: 'invalid_argument',
      message: 'id: missing ID',
    });
    expect(await failureOf(entries().getEntry({ id: 'nope' }))).toMatchObject({ code: 'not_found', message: 'entry not found' });
  });

  test('[SPIRE entry.v1.BatchUpdateEntry] changes what the input mask names', async () => {
    const [id = ''] = await made(entryOf('update', { hint: 'before', admin: true }));
    const update = { id, hint: 'after', admin: false, selectors: [] };
    const masked = await entries().batchUpdateEntry({ entries: [update], inputMask: { hint: true } });
    expect(masked.results[0]?.status?.code).toBe(0);
    expect(masked.results[0]?.entry).toMatchObject({ hint: 'after', admin: true, revisionNumber: 1n });
    const whole = await entries().batchUpdateEntry({
      entries: [update, { ...entryOf('update-2'), id }, { ...entryOf('x'), id: 'nope' }],
    });
    expect(whole.results.map(({ status }) => status?.code)).toEqual([3, 0, 5]);
    expect(whole.results[1]?.entry).toMatchObject({ admin: false, hint: '', revisionNumber: 2n, spiffeId: own('/update-2') });
    const storable = await entries().batchUpdateEntry({
      entries: [{ id, storeSvid: true, additionalAttributes: { disableX509SvidPrefetch: true } }],
      inputMask: { storeSvid: true, additionalAttributes: true },
    });
    expect(storable.results[0]?.status?.code).toBe(3);
  });

  test('[SPIRE entry.v1.BatchDeleteEntry] deletes each entry for itself', async () => {
    const [id = ''] = await made(entryOf('delete'));
    const { results } = await entries().batchDeleteEntry({ ids: [id, id, ''] });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 5, 3]);
    expect(results.map((result) => result.id)).toEqual([id, id, '']);
    expect(await failureOf(entries().getEntry({ id }))).toMatchObject({ code: 'not_found' });
  });

  test('[SPIRE entry.v1.ListEntries] filters, and [SPIRE entry.v1.CountEntries] counts the same', async () => {
    await ca.local(Bundle).batchSetFederatedBundle({ bundle: [{ trustDomain: 'list.example' }] });
    const parentId = own('/spire/agent/x509pop/list');
    const both = [
      { type: 'list', value: 'a' },
      { type: 'list', value: 'b' },
    ];
    await made(
      entryOf('list-1', { parentId, selectors: both, hint: 'internal', federatesWith: ['list.example'] }),
      entryOf('list-2', { parentId, selectors: both.slice(0, 1), downstream: true }),
    );
    const filters: readonly [Filter, readonly string[]][] = [
      [{ byParentId: parentId }, ['/list-1', '/list-2']],
      [{ byParentId: parentId, byDownstream: true }, ['/list-2']],
      // As in SPIRE, whose command always says false.
      [{ byParentId: parentId, byDownstream: false }, ['/list-1', '/list-2']],
      [{ bySpiffeId: own('/list-1') }, ['/list-1']],
      [{ byParentId: parentId, byHint: 'internal' }, ['/list-1']],
      [{ bySelectors: { selectors: both, match: Match.MATCH_EXACT } }, ['/list-1']],
      [{ bySelectors: { selectors: both, match: Match.MATCH_SUBSET } }, ['/list-1', '/list-2']],
      [{ bySelectors: { selectors: both.slice(0, 1), match: Match.MATCH_SUPERSET } }, ['/list-1', '/list-2']],
      [{ bySelectors: { selectors: both.slice(1), match: Match.MATCH_ANY } }, ['/list-1']],
      [{ byFederatesWith: { trustDomains: ['list.example'], match: 0 } }, ['/list-1']],
    ];
    for (const [filter, paths] of filters) {
      const { entries: found } = await entries().listEntries({ filter });
      expect(found.map(({ spiffeId }) => spiffeId?.path)).toEqual(paths);
      expect((await entries().countEntries({ filter })).count).toBe(paths.length);
    }
  });

  test('[SPIRE entry.v1.ListEntries] pages in order of creation', async () => {
    const parentId = own('/spire/agent/x509pop/paged');
    await made(...Array.from({ length: 5 }, (_, index) => entryOf(`page-${index}`, { parentId })));
    const seen: (string | undefined)[] = [];
    let pageToken = '';
    let pages = 0;
    do {
      const page = await entries().listEntries({
        filter: { byParentId: parentId },
        pageSize: 2,
        pageToken,
        outputMask: { spiffeId: true },
      });
      seen.push(...page.entries.map(({ spiffeId }) => spiffeId?.path));
      pageToken = page.nextPageToken;
      pages += 1;
    } while (pageToken !== '' && pages < 10);
    expect(seen).toEqual(['/page-0', '/page-1', '/page-2', '/page-3', '/page-4']);
    expect(await failureOf(entries().listEntries({ pageSize: 2, pageToken: 'garbage' }))).toMatchObject({
      code: 'invalid_argument',
    });
  });

  const badFilters: readonly [string, Filter][] = [
    ['filter.by_parent_id', { byParentId: own('') }],
    ['filter.by_spiffe_id', { bySpiffeId: own('/spire/agent/x') }],
    ['filter.by_spiffe_id.path', { bySpiffeId: own('/a//b') }],
    ['filter.by_selectors.selectors', { bySelectors: { selectors: [] } }],
    ['filter.by_selectors.selectors[0]', { bySelectors: { selectors: [{ type: '', value: '' }] } }],
    ['filter.by_federates_with.trust_domains', { byFederatesWith: {} }],
    ['filter.by_federates_with.trust_domains[0]', { byFederatesWith: { trustDomains: ['?'] } }],
  ];
  test.each(badFilters)('[SPIRE entry.v1.ListEntries] names a faulty %s', async (field, filter) => {
    const failure = await failureOf(entries().listEntries({ filter }));
    expect(failure.code).toBe('invalid_argument');
    expect(failure.message).toContain(`${field}: `);
  });
});

describe('entry.v1 for agents', () => {
  let agent: TestAgent;
  beforeAll(async () => {
    agent = await attestTestAgent(ca);
    const parentId = { trustDomain: 'example.org', path: agent.id.path };
    await made(entryOf('agent-1', { parentId }), entryOf('agent-2', { parentId: own('/agent-1') }), entryOf('agent-3'));
  });
  type SyncRequest = MessageInitShape<typeof SyncAuthorizedEntriesRequestSchema>;
  async function sync(...requests: SyncRequest[]) {
    async function* send() {
      yield* requests;
    }
    const responses = [];
    for await (const response of agent.connection.client(Entry).syncAuthorizedEntries(send())) responses.push(response);
    return responses;
  }

  test('[SPIRE entry.v1.GetAuthorizedEntries] answers with children and their descendants', async () => {
    const found = await agent.connection.client(Entry).getAuthorizedEntries({ outputMask: { spiffeId: true } });
    expect(new Set(found.entries.map(({ spiffeId }) => spiffeId?.path))).toEqual(new Set(['/agent-1', '/agent-2']));
  });

  test('[SPIRE entry.v1.SyncAuthorizedEntries] sends few entries whole', async () => {
    const [response, ...more] = await sync({ outputMask: { spiffeId: true, revisionNumber: true } });
    expect(more).toEqual([]);
    expect(response?.entries).toHaveLength(2);
    expect(response?.more).toBe(false);
  });

  test('[SPIRE entry.v1.SyncAuthorizedEntries] refuses IDs at first and a masked revision', async () => {
    expect(await failureOf(sync({ ids: ['x'] }))).toMatchObject({ code: 'invalid_argument' });
    expect(await failureOf(sync({ outputMask: { spiffeId: true } }))).toMatchObject({ code: 'invalid_argument' });
  });

  test('[SPIRE entry.v1.SyncAuthorizedEntries] sends revisions of many entries, then those asked for, in pages', async () => {
    const many = await attestTestAgent(ca);
    const parentId = { trustDomain: 'example.org', path: many.id.path };
    const ids = await made(...Array.from({ length: 1001 }, (_, index) => entryOf(`many-${index}`, { parentId })));
    agent = many;
    const responses = await sync(
      { outputMask: { revisionNumber: true } },
      { ids: [...ids.slice(0, 501), 'unknown'] },
      { ids: [] },
    );
    expect(responses.map(({ entryRevisions, entries: whole, more }) => [entryRevisions.length, whole.length, more])).toEqual([
      [500, 0, true],
      [500, 0, true],
      [1, 0, false],
      [0, 500, true],
      [0, 1, false],
      [0, 0, false],
    ]);
    expect(responses[3]?.entries[0]?.spiffeId).toBeUndefined();
  });
});
