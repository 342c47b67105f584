import { fromBinary } from '@bufbuild/protobuf';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BundleSchema } from '../../../../proto/gen/spire/api/types/bundle_pb.ts';
import { EntrySchema } from '../../../../proto/gen/spire/api/types/entry_pb.ts';
import type { WatchResponse } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import { systemClock } from '../../../../core/clock.ts';
import { startRegistry } from '../../../../ca/registry/feed.ts';
import type { RegistryFeed } from '../../../../ca/registry/feed.ts';
import { openStore } from '../../../../ca/store/open.ts';
import type { Mutation, Store } from '../../../../ca/store/store.ts';
import { exampleOrg, idAt, newAgent, newEntry } from '../../../support/entries.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { serveWatches, WatchClient, namesIn } from '../../../support/watch-rig.ts';
import type { WatchServer } from '../../../support/watch-rig.ts';

let store: Store;
let feed: RegistryFeed;
let server: WatchServer;
const logged: string[] = [];
let agents = 0;

beforeAll(async () => {
  const log = pino({}, { write: (line: string) => void logged.push(line) });
  store = await openStore({ kind: 'sqlite', path: ':memory:' }, { clock: systemClock });
  feed = await startRegistry({ store, clock: systemClock, trustDomain: exampleOrg });
  server = await serveWatches({ registry: feed.registry, clock: systemClock, log });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await feed[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
});

async function change<T>(work: (tx: Mutation) => Promise<T>): Promise<T> {
  const { value, revision } = await store.mutate(work);
  await feed.registry.waitFor(revision);
  return value;
}

/** A new agent with entries of the given IDs. */
async function makeAgent(...entryIds: string[]): Promise<string> {
  agents += 1;
  const id = idAt(`/spire/agent/test/${agents}`);
  await change(async (tx) => {
    await tx.putAgent(newAgent({ id }));
    for (const entryId of entryIds) await tx.createEntry(newEntry({ id: entryId, spiffeId: idAt(`/${entryId}`), parentId: id }));
  });
  return id.toString();
}

function resumeAt(answer: readonly WatchResponse[]) {
  const last = answer.at(-1);
  return { feedId: last?.feedId ?? '', resumeRevision: last?.revision ?? 0n };
}

describe('what is sent', () => {
  test('first a snapshot of bundle and entries, then each change', async () => {
    const agent = await makeAgent('first');
    using client = WatchClient.subscribe(server.path, agent);
    const [snapshot] = await client.answer();
    expect(snapshot).toMatchObject({ snapshot: true, complete: true, feedId: store.feedId });
    expect(namesIn([snapshot ?? never()])).toEqual(['bundle example.org', 'entry first']);
    const [bundle, entry] = snapshot?.resources ?? [];
    expect(fromBinary(BundleSchema, bundle?.value ?? never()).trustDomain).toBe('example.org');
    expect(fromBinary(EntrySchema, entry?.value ?? never())).toMatchObject({ id: 'first', spiffeId: { path: '/first' } });

    await change((tx) => tx.updateEntry('first', { hint: 'new' }));
    const [update] = await client.answer();
    expect(update).toMatchObject({ snapshot: false, complete: true });
    expect(fromBinary(EntrySchema, update?.resources[0]?.value ?? never()).hint).toBe('new');

    await change((tx) => tx.deleteEntry('first'));
    expect(namesIn(await client.answer())).toEqual(['entry first removed']);
  });

  test('changes of one burst come together', async () => {
    const agent = await makeAgent('burst-1', 'burst-2');
    using client = WatchClient.subscribe(server.path, agent);
    await client.answer();
    await Promise.all(['burst-1', 'burst-2'].map((id) => change((tx) => tx.updateEntry(id, { hint: 'x' }))));
    expect(namesIn(await client.answer()).toSorted()).toEqual(['entry burst-1', 'entry burst-2']);
  });

  test('only the kinds that were asked for', async () => {
    const agent = await makeAgent('kinds');
    using bundles = WatchClient.subscribe(server.path, agent, { kinds: ['bundle', 'policy'] });
    using entries = WatchClient.subscribe(server.path, agent, { kinds: ['entry'] });
    expect(namesIn(await bundles.answer())).toEqual(['bundle example.org']);
    expect(namesIn(await entries.answer())).toEqual(['entry kinds']);
  });

  test('a large snapshot comes in parts, of which only the last is complete', async () => {
    const agent = await makeAgent();
    const parentId = feed.registry.agents.list().items.at(-1)?.id ?? never();
    const entries = Array.from({ length: 2100 }, (_, index) => newEntry({ parentId, spiffeId: idAt(`/large/${index}`) }));
    await change((tx) => tx.createEntries(entries));
    using client = WatchClient.subscribe(server.path, agent);
    const parts = await client.answer();
    expect(parts.map(({ resources }) => resources.length)).toEqual([1000, 1000, 101]);
    expect(parts.map(({ snapshot, complete }) => [snapshot, complete])).toEqual([
      [true, false],
      [true, false],
      [true, true],
    ]);
    expect(new Set(parts.map(({ revision }) => revision)).size).toBe(1);
  });

  test('who does not read gets everything that happened meanwhile as one', async () => {
    const agent = await makeAgent('slow');
    using client = WatchClient.subscribe(server.path, agent);
    await client.answer();
    // More than the transport's windows hold, so that the server has to wait for the reader.
    const dnsNames = Array.from({ length: 900 }, (_, index) => `${'d'.repeat(60)}-${index}.example.org`);
    for (let count = 1; count <= 60; count += 1) await change((tx) => tx.updateEntry('slow', { dnsNames, hint: `${count}` }));
    let answers = 0;
    for (let hint = ''; hint !== '60'; answers += 1) {
      const [update] = await client.answer();
      hint = fromBinary(EntrySchema, update?.resources[0]?.value ?? never()).hint;
    }
    expect(answers).toBeLessThan(60);
  });
});

describe('resuming', () => {
  test('at the present nothing is sent but the revision', async () => {
    const agent = await makeAgent('current');
    using first = WatchClient.subscribe(server.path, agent);
    const position = resumeAt(await first.answer());
    using second = WatchClient.subscribe(server.path, agent, position);
    const [answer] = await second.answer();
    expect(answer).toMatchObject({ snapshot: false, complete: true, resources: [], revision: position.resumeRevision });
  });

  test('from before, just what changed', async () => {
    const agent = await makeAgent('kept', 'changed', 'gone');
    using first = WatchClient.subscribe(server.path, agent);
    const position = resumeAt(await first.answer());
    await change((tx) => tx.updateEntry('changed', { hint: 'x' }));
    await change((tx) => tx.deleteEntry('gone'));
    using second = WatchClient.subscribe(server.path, agent, position);
    const answer = await second.answer();
    expect(answer[0]?.snapshot).toBe(false);
    expect(namesIn(answer)).toEqual(['entry changed', 'entry gone removed']);
  });

  test.each([
    ['another feed', { feedId: 'another', resumeRevision: 1n }],
    ['a revision that is yet to come', { resumeRevision: 2n ** 60n }],
    ['no revision', { resumeRevision: 0n }],
  ])('from %s, everything', async (_, { feedId = store.feedId, resumeRevision }: { feedId?: string; resumeRevision: bigint }) => {
    const agent = await makeAgent();
    using client = WatchClient.subscribe(server.path, agent, { feedId, resumeRevision });
    expect((await client.answer())[0]?.snapshot).toBe(true);
  });
});

describe('who is cut off', () => {
  test.each([
    ['banned', (agent: string) => change((tx) => tx.updateAgent(idOf(agent), { banned: true, serialNumber: '' }))],
    ['evicted', (agent: string) => change((tx) => tx.deleteAgent(idOf(agent)))],
  ])('an agent that was %s, within a second', async (_, remove) => {
    const agent = await makeAgent('secret');
    using client = WatchClient.subscribe(server.path, agent);
    await client.answer();
    const startMs = performance.now();
    await remove(agent);
    expect(await failureOf(client.next())).toMatchObject({ code: 'permission_denied' });
    expect(performance.now() - startMs).toBeLessThan(1000);
    await change((tx) => tx.deleteEntry('secret'));
  });

  test('an agent whose certificate has run out, within a second', async () => {
    const agent = await makeAgent();
    const expiresAtMs = Date.now() + 300;
    await change((tx) => tx.updateAgent(idOf(agent), { expiresAtMs }));
    await using shortLived = await serveWatches({ registry: feed.registry, clock: systemClock, expiresAtMs });
    using client = WatchClient.subscribe(shortLived.path, agent);
    await client.answer();
    expect(await failureOf(client.next())).toMatchObject({ code: 'permission_denied' });
    expect(Date.now() - expiresAtMs).toBeLessThan(1000);
  });
});

describe('what agents send', () => {
  test('a refusal is logged, without end of its text', async () => {
    const agent = await makeAgent('refused');
    using client = WatchClient.subscribe(server.path, agent);
    const [{ revision } = never()] = await client.answer();
    client.send({ message: { case: 'ack', value: { revision } } });
    await change((tx) => tx.updateEntry('refused', { hint: 'x' }));
    await client.answer();
    const nack = { kind: 'entry', name: 'refused', revision, error: 'e'.repeat(10_000) };
    client.send({ message: { case: 'nack', value: nack } });
    await expect.poll(() => logged.some((line) => line.includes('agent refused a resource'))).toBe(true);
    const line = logged.find((each) => each.includes('agent refused a resource')) ?? never();
    expect(JSON.parse(line)).toMatchObject({ agentId: agent, kind: 'entry', resource: 'refused', reason: 'e'.repeat(500) });
  });

  test('the first message must subscribe, and no other may', async () => {
    const agent = await makeAgent();
    using wrong = new WatchClient(server.path, agent, { message: { case: 'ack', value: { revision: 1n } } });
    expect(await failureOf(wrong.next())).toMatchObject({ code: 'invalid_argument' });
    using empty = new WatchClient(server.path, agent, {});
    expect(await failureOf(empty.next())).toMatchObject({ code: 'invalid_argument' });
    using twice = WatchClient.subscribe(server.path, agent);
    await twice.answer();
    twice.send({ message: { case: 'subscribe', value: {} } });
    expect(await failureOf(twice.next())).toMatchObject({ code: 'invalid_argument' });
  });

  test('a stream that is cancelled leaves nothing behind', async () => {
    const before = feed.registry.watchCount;
    const agent = await makeAgent();
    const client = WatchClient.subscribe(server.path, agent);
    await client.answer();
    expect(feed.registry.watchCount).toBe(before + 1);
    client[Symbol.dispose]();
    await expect.poll(() => feed.registry.watchCount).toBe(before);
  });
});

function idOf(agent: string) {
  return feed.registry.agents.list().items.find(({ id }) => id.toString() === agent)?.id ?? never();
}

function never(): never {
  throw new Error('the test expects a value here');
}
