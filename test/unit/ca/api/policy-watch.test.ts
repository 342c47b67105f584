import { fromBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AuthorizationSettings } from '../../../../ca/authorization-settings.ts';
import { startRegistry } from '../../../../ca/registry/feed.ts';
import type { RegistryFeed } from '../../../../ca/registry/feed.ts';
import { openStore } from '../../../../ca/store/open.ts';
import type { Mutation, Store } from '../../../../ca/store/store.ts';
import { systemClock } from '../../../../core/clock.ts';
import { AuthorizationSettingsSchema, WorkloadMetadataSchema } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import type { WatchResponse } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import { ResourceSchema } from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { parseKeySet } from '../../../../policy/users/key-set.ts';
import { exchangeAuthority, exchangeConfig } from '../../../support/exchange-authority.ts';
import { exampleOrg, idAt, newAgent, newEntry, selectorsOf } from '../../../support/entries.ts';
import { policyResource } from '../../../support/policies.ts';
import { namesIn, serveWatches, WatchClient } from '../../../support/watch-rig.ts';
import type { WatchServer } from '../../../support/watch-rig.ts';

let store: Store;
let feed: RegistryFeed;
let server: WatchServer;
let made = 0;

beforeAll(async () => {
  store = await openStore({ kind: 'sqlite', path: ':memory:' }, { clock: systemClock });
  feed = await startRegistry({ store, clock: systemClock, trustDomain: exampleOrg });
  server = await serveWatches({ registry: feed.registry, clock: systemClock });
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

/** A new agent with an entry of each name, in the namespace that the name begins with: `shop-web`. */
async function makeAgent(...entries: string[]): Promise<string> {
  made += 1;
  const id = idAt(`/spire/agent/test/${made}`);
  await change(async (tx) => {
    await tx.putAgent(newAgent({ id }));
    for (const name of entries) await tx.createEntry(entryIn(name, { parentId: id }));
  });
  return id.toString();
}

function entryIn(name: string, fields: Parameters<typeof newEntry>[0] = {}) {
  const [namespace] = name.split('-');
  return newEntry({ id: name, spiffeId: idAt(`/${name}`), selectors: selectorsOf(`k8s:ns:${namespace}`), ...fields });
}

const put = (...keys: string[]) => change((tx) => tx.putPolicies(keys.map((key) => policyResource(key))));

function resumeAt(answer: readonly WatchResponse[]) {
  const last = answer.at(-1);
  return { feedId: last?.feedId ?? '', resumeRevision: last?.revision ?? 0n };
}

describe('policies', () => {
  test('an agent has those of its namespaces, and cluster-wide ones; each as it is in the store', async () => {
    await put('AuthorizationPolicy/a/one', 'RequestAuthentication/a/people', 'AuthorizationPolicy/b/other');
    await put('ClusterAuthorizationPolicy//baseline');
    const agent = await makeAgent('a-web');
    using client = WatchClient.subscribe(server.path, agent, { kinds: ['policy'] });
    const [snapshot] = await client.answer();
    expect(snapshot).toMatchObject({ snapshot: true, complete: true });
    expect(namesIn([snapshot ?? never()]).toSorted()).toEqual([
      'policy AuthorizationPolicy/a/one',
      'policy ClusterAuthorizationPolicy//baseline',
      'policy RequestAuthentication/a/people',
    ]);
    const one = snapshot?.resources.find(({ name }) => name === 'AuthorizationPolicy/a/one');
    const { document } = policyResource('AuthorizationPolicy/a/one');
    const name = { kind: 'AuthorizationPolicy', namespace: 'a', name: 'one' };
    expect(fromBinary(ResourceSchema, one?.value ?? never())).toMatchObject({ name, document });
  });

  test('each change of one of them, and no other', async () => {
    const agent = await makeAgent('c-web');
    using client = WatchClient.subscribe(server.path, agent, { kinds: ['policy'] });
    await client.answer();
    await put('AuthorizationPolicy/elsewhere/one');
    await put('AuthorizationPolicy/c/one');
    const [update] = await client.answer();
    expect(namesIn([update ?? never()])).toEqual(['policy AuthorizationPolicy/c/one']);
    expect(Number(update?.revision)).toBe(feed.registry.revision);
    await change((tx) => tx.deletePolicies([{ kind: 'AuthorizationPolicy', namespace: 'c', name: 'one' }]));
    expect(namesIn(await client.answer())).toEqual(['policy AuthorizationPolicy/c/one removed']);
  });

  test('an agent with a workload that may be in any namespace has those of all', async () => {
    await put('AuthorizationPolicy/any/one');
    const agent = await makeAgent();
    const parentId = idAt(new URL(agent).pathname);
    await change((tx) => tx.createEntry(entryIn('any-where', { parentId, selectors: selectorsOf('unix:uid:7') })));
    using client = WatchClient.subscribe(server.path, agent, { kinds: ['policy'] });
    expect(namesIn(await client.answer())).toContain('policy AuthorizationPolicy/any/one');
    await put('AuthorizationPolicy/any/two');
    expect(namesIn(await client.answer())).toEqual(['policy AuthorizationPolicy/any/two']);
    await change((tx) => tx.updateEntry('any-where', { workload: { namespace: 'any' } }));
    const removed = namesIn(await client.answer());
    expect(removed).toContain('policy AuthorizationPolicy/a/one removed');
    expect(removed.filter((name) => name.includes('/any/'))).toEqual([]);
  });

  test('with the first entry of a namespace come its policies, and with the last they go, in the same answer', async () => {
    await put('AuthorizationPolicy/d/one', 'AuthorizationPolicy/d/two');
    const agent = await makeAgent();
    using client = WatchClient.subscribe(server.path, agent, { kinds: ['entry', 'policy'] });
    await client.answer();
    await change((tx) => tx.createEntry(entryIn('d-web', { parentId: idAt(new URL(agent).pathname) })));
    const both = ['policy AuthorizationPolicy/d/one', 'policy AuthorizationPolicy/d/two'];
    expect(namesIn(await client.answer())).toEqual(['entry d-web', ...both]);
    await change((tx) => tx.updateEntry('d-web', { selectors: selectorsOf('k8s:ns:nowhere') }));
    expect(namesIn(await client.answer())).toEqual(['entry d-web', ...both.map((name) => `${name} removed`)]);
  });
});

describe('settings', () => {
  test('are told once, with the first answer', async () => {
    const agent = await makeAgent();
    using client = WatchClient.subscribe(server.path, agent, { kinds: ['settings'] });
    const [answer] = await client.answer();
    expect(namesIn([answer ?? never()])).toEqual(['settings authorization']);
    expect(fromBinary(AuthorizationSettingsSchema, answer?.resources[0]?.value ?? never()).defaultAction).toBe('audit');
  });
});

test('settings are sent again when the keys of the exchange change, and not when another authority does', async () => {
  const settings = new AuthorizationSettings(exchangeConfig(), feed.registry);
  await using own = await serveWatches({ registry: feed.registry, clock: systemClock, settings });
  using client = WatchClient.subscribe(own.path, await makeAgent(), { kinds: ['settings'] });
  const keyIds = async (): Promise<readonly (string | undefined)[]> => {
    const [answer] = await client.answer();
    const value = answer?.resources.find(({ kind }) => kind === 'settings')?.value;
    if (value === undefined) return ['no settings'];
    const { exchangeIssuer, exchangeJwks } = fromBinary(AuthorizationSettingsSchema, value);
    expect(exchangeIssuer).toBe('https://token.example.org');
    return parseKeySet(exchangeJwks).map(({ keyId }) => keyId);
  };
  expect(await keyIds()).toEqual([]);
  const [one, two] = [exchangeAuthority('one'), exchangeAuthority('two')];
  await change((tx) => tx.putAuthority(one));
  expect(await keyIds()).toEqual(['one']);
  await change((tx) => tx.putAuthority({ ...two, kind: 'jwt' }));
  expect(await keyIds()).toEqual(['no settings']);
  await change((tx) => tx.putAuthority(two));
  expect(await keyIds()).toEqual(['one', 'two']);
  await change((tx) => tx.putAuthority({ ...one, tainted: true }));
  expect(await keyIds()).toEqual(['two']);
  await change((tx) => tx.deleteAuthority('exchange', 'two'));
  expect(await keyIds()).toEqual([]);
});

describe('workloads', () => {
  test('an agent knows those of all agents', async () => {
    await makeAgent('e-web');
    const agent = await makeAgent();
    using client = WatchClient.subscribe(server.path, agent, { kinds: ['workload'] });
    const [answer] = await client.answer();
    const web = answer?.resources.find(({ name }) => name === 'spiffe://example.org/e-web');
    expect(fromBinary(WorkloadMetadataSchema, web?.value ?? never())).toMatchObject({ namespace: 'e', serviceAccount: '' });
  });
});

describe('resuming', () => {
  test('gets what changed of policies and workloads, and no more', async () => {
    await put('AuthorizationPolicy/f/stays', 'AuthorizationPolicy/f/changes', 'AuthorizationPolicy/f/goes');
    const agent = await makeAgent('f-web');
    const kinds = ['policy', 'workload'];
    using first = WatchClient.subscribe(server.path, agent, { kinds });
    const position = resumeAt(await first.answer());
    await put('AuthorizationPolicy/elsewhere/two');
    await change((tx) => tx.putPolicies([policyResource('AuthorizationPolicy/f/changes', { generation: 2 })]));
    await change((tx) => tx.deletePolicies([{ kind: 'AuthorizationPolicy', namespace: 'f', name: 'goes' }]));
    await makeAgent('f-other');
    using second = WatchClient.subscribe(server.path, agent, { ...position, kinds });
    const answer = await second.answer();
    expect(answer[0]?.snapshot).toBe(false);
    expect(namesIn(answer)).toEqual([
      'policy AuthorizationPolicy/f/changes',
      'policy AuthorizationPolicy/f/goes removed',
      'workload spiffe://example.org/f-other',
    ]);
  });

  test('a position of other kinds is none', async () => {
    const agent = await makeAgent('g-web');
    using old = WatchClient.subscribe(server.path, agent);
    const position = resumeAt(await old.answer());
    expect(position.feedId).toBe(store.feedId);
    using updated = WatchClient.subscribe(server.path, agent, { ...position, kinds: ['entry', 'policy'] });
    expect((await updated.answer())[0]?.snapshot).toBe(true);
  });
});

function never(): never {
  throw new Error('there is none');
}
