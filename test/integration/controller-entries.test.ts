// The reconciler against a real CA on a real socket, with entries that a test wishes for.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EntryClient } from '../../controller/entries/entry-client.ts';
import type { Desired } from '../../controller/entries/entry-changes.ts';
import { EntryReconciler } from '../../controller/entries/entry-reconciler.ts';
import { entryKey } from '../../controller/identity/entry-key.ts';
import type { DesiredEntry } from '../../controller/ports.ts';
import { systemClock } from '../../core/clock.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { createLogger } from '../../runtime/log.ts';
import { RunningCa } from '../support/running-ca.ts';

const wishes = new Map<string, Desired>();
const refused: string[] = [];
let ca: RunningCa;
let connection: GrpcConnection;
let entries: EntryReconciler;
let stop: AbortController;
let running: Promise<void>;

function entry(path: string, fields: Partial<DesiredEntry> = {}): DesiredEntry {
  const identity = {
    spiffeId: `spiffe://example.org${path}`,
    parentId: 'spiffe://example.org/node',
    selectors: ['unix:uid:1000'],
  };
  const rest = {
    x509SvidTtlSeconds: 0,
    jwtSvidTtlSeconds: 0,
    federatesWith: [],
    admin: false,
    downstream: false,
    dnsNames: [],
    hint: '',
  };
  return { ...identity, ...rest, key: entryKey(identity), storeSvid: false, jwtClaims: undefined, ...fields };
}

function wish(...wished: readonly DesiredEntry[]): void {
  const declarer = { kind: 'StaticIdentity', namespace: '', name: 'x', uid: '', createdAtMs: 0, deleting: false };
  for (const each of wished) wishes.set(each.key, { entry: each, declarer, pod: '' });
  entries.enqueue(wished.map(({ key }) => key));
}

function unwish(...gone: readonly DesiredEntry[]): void {
  for (const { key } of gone) wishes.delete(key);
  entries.enqueue(gone.map(({ key }) => key));
}

async function atCa() {
  const { entries: found } = await ca.local(Entry).listEntries({});
  return found.map(({ id, spiffeId, hint }) => ({ id, path: spiffeId?.path, hint }));
}

beforeEach(async () => {
  wishes.clear();
  refused.length = 0;
  ca = await RunningCa.start();
  connection = connectGrpc({ target: { kind: 'unix', path: ca.socket }, clock: systemClock });
  entries = new EntryReconciler({
    desired: { desired: (key) => wishes.get(key), keys: () => wishes.keys() },
    client: new EntryClient(connection),
    prefix: 'main.',
    clock: systemClock,
    log: createLogger({ level: 'fatal', name: 'test' }),
    driftCheckMs: 3_600_000,
    massDeletion: 'refuse',
    onFailures: () => {},
    onRefused: (_desired, { message }) => void refused.push(message),
  });
  stop = new AbortController();
});

afterEach(async () => {
  stop.abort();
  await running;
  connection[Symbol.dispose]();
  await ca[Symbol.asyncDispose]();
});

async function start(): Promise<void> {
  running = entries.run(stop.signal);
  await expect.poll(() => entries.settled.value).toBe(true);
}

test('makes, changes in place and deletes', async () => {
  wish(entry('/a'), entry('/b'));
  await start();
  const [a] = await atCa();
  expect(a).toEqual({ id: expect.stringMatching(/^main\./), path: '/a', hint: '' });
  expect(entries.entryId(entry('/a').key)).toBe(a?.id);
  wish(entry('/a', { hint: 'changed', jwtClaims: { team: 'blue', list: [1, { deep: true }] } }));
  unwish(entry('/b'));
  await expect.poll(atCa).toEqual([{ id: a?.id, path: '/a', hint: 'changed' }]);
  expect(entries.counts).toEqual({ created: 2, updated: 1, deleted: 1 });
  wish(entry('/a', { hint: 'changed', jwtClaims: { list: [1, { deep: true }], team: 'blue' } }));
  await expect.poll(() => entries.queueLength).toBe(0);
  expect(entries.counts.updated).toBe(1);
});

test('finds what there is of its own, takes it over, and leaves the rest alone', async () => {
  const id = (path: string) => ({ trustDomain: 'example.org', path });
  const common = { parentId: id('/node'), selectors: [{ type: 'unix', value: 'uid:1000' }] };
  await ca.local(Entry).batchCreateEntry({
    entries: [
      { ...common, id: 'main.kept', spiffeId: id('/a') },
      { ...common, id: 'main.old', spiffeId: id('/old') },
      { ...common, id: 'other.1', spiffeId: id('/other') },
      { ...common, id: 'mainframe', spiffeId: id('/hand') },
    ],
  });
  wish(entry('/a'));
  await start();
  expect((await atCa()).map((each) => each.id).toSorted((a, b) => (a < b ? -1 : 1))).toEqual([
    'main.kept',
    'mainframe',
    'other.1',
  ]);
  expect(entries.counts).toEqual({ created: 0, updated: 0, deleted: 1 });
});

test('an entry that the CA refuses is told and hinders no other', async () => {
  wish(entry('/a'), entry('/b', { federatesWith: ['unknown.test'] }));
  await start();
  expect((await atCa()).map(({ path }) => path)).toEqual(['/a']);
  expect(refused).toEqual([expect.stringContaining('unknown.test')]);
  expect(entries.failuresOf('StaticIdentity//x')).toEqual([{ reason: 'EntryRefused', message: refused[0] }]);
  wish(entry('/b'));
  await expect.poll(async () => (await atCa()).map(({ path }) => path)).toEqual(['/a', '/b']);
  expect(entries.failuresOf('StaticIdentity//x')).toEqual([]);
});

test('an entry that is wanted again before its deletion was answered is there', async () => {
  wish(entry('/a'));
  await start();
  for (let round = 0; round < 20; round += 1) {
    unwish(entry('/a'));
    await Promise.resolve();
    wish(entry('/a', { hint: `${round}` }));
  }
  await expect.poll(async () => (await atCa()).map(({ hint }) => hint)).toEqual(['19']);
});

test('a thousand entries come and go', async () => {
  const many = Array.from({ length: 1_000 }, (_, index) => entry(`/many/${index}`));
  await start();
  wish(...many);
  await expect.poll(async () => (await atCa()).length).toBe(1_000);
  unwish(...many);
  await expect.poll(async () => (await atCa()).length).toBe(0);
  expect(entries.counts).toEqual({ created: 1_000, updated: 0, deleted: 1_000 });
});
