import { afterEach, beforeEach, expect, test } from 'vitest';
import { idAt, newAgent, newEntry, selectorsOf } from '../../../support/entries.ts';
import { RegistryRig } from '../../../support/registry-rig.ts';

let rig: RegistryRig;
beforeEach(async () => {
  rig = await RegistryRig.start();
});
afterEach(() => rig[Symbol.asyncDispose]());

const agent = idAt('/spire/agent/a');
const server = idAt('/spire/server');
const authorized = () =>
  rig.registry
    .authorizedEntries(agent)
    .map(({ id }) => id)
    .sort();

async function create(id: string, spiffePath: string, parentId = agent, ...selectors: string[]): Promise<void> {
  const fields = selectors.length === 0 ? {} : { selectors: selectorsOf(...selectors) };
  await rig.mutate((tx) => tx.createEntry(newEntry({ id, spiffeId: idAt(spiffePath), parentId, ...fields })));
}

test('children, and what is below them, however deep; not those of other agents', async () => {
  await create('child', '/child');
  await create('grandchild', '/grandchild', idAt('/child'));
  await create('great', '/great', idAt('/grandchild'));
  await create('foreign', '/foreign', idAt('/spire/agent/b'));
  expect(authorized()).toEqual(['child', 'grandchild', 'great']);
  expect(rig.registry.authorizedEntry(agent, 'great')?.id).toBe('great');
  expect(rig.registry.authorizedEntry(agent, 'foreign')).toBeUndefined();
  expect(rig.registry.authorizedEntry(agent, 'nobody')).toBeUndefined();
});

test('those below a node alias that selects the agent, but not the alias itself', async () => {
  await create('alias', '/cluster', server, 's:1', 's:2');
  await create('workload', '/workload', idAt('/cluster'));
  expect(authorized()).toEqual([]);
  await rig.mutate((tx) => tx.putAgent(newAgent({ id: agent, selectors: selectorsOf('s:1') })));
  expect(authorized()).toEqual([]);
  await rig.mutate((tx) => tx.updateAgent(agent, { selectors: selectorsOf('s:0', 's:1', 's:2') }));
  expect(authorized()).toEqual(['workload']);
  await rig.mutate((tx) => tx.updateEntry('alias', { selectors: selectorsOf('s:1', 's:3') }));
  expect(authorized()).toEqual([]);
});

test('a circle of parents is walked once', async () => {
  await create('one', '/one');
  await create('two', '/two', idAt('/one'));
  await create('back', '/one', idAt('/two'), 's:9');
  await create('self', '/self', idAt('/self'));
  expect(authorized()).toEqual(['back', 'one', 'two']);
});

test('an agent without a record has its children, but no alias', async () => {
  await create('child', '/child');
  await create('alias', '/cluster', server, 's:1');
  await create('workload', '/workload', idAt('/cluster'));
  expect(authorized()).toEqual(['child']);
});
