import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { isNodeAlias, selectorText } from '../../../../ca/model.ts';
import type { Agent, Entry } from '../../../../ca/model.ts';
import type { Registry } from '../../../../ca/registry/registry.ts';
import type { Mutation } from '../../../../ca/store/store.ts';
import { isIdentityError } from '../../../../core/errors.ts';
import { Bundle } from '../../../../spiffe/bundle.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import { idAt, newAgent, newEntry, selectorsOf } from '../../../support/entries.ts';
import { RegistryRig, WatchingAgent } from '../../../support/registry-rig.ts';

// A small world, so that parents, aliases and agents often meet, in cycles too.
const agentPaths = ['/spire/agent/a', '/spire/agent/b', '/spire/agent/c'];
const workloadPaths = ['/p1', '/p2', '/p3', '/p4'];
const nodePaths = ['/n1', '/n2'];
const selectorTexts = ['s:1', 's:2', 's:3'];
const domains = ['one.org', 'two.org'].map((name) => parseTrustDomain(name));

const shape = fc.record({
  spiffePath: fc.constantFrom(...workloadPaths, ...nodePaths),
  parentPath: fc.constantFrom(...agentPaths, ...workloadPaths, ...nodePaths, '/spire/server', '/spire/server'),
  selectors: fc.subarray(selectorTexts, { minLength: 1 }),
  federatesWith: fc.subarray(domains),
});
const FIRST: Record<string, Shape> = {
  e1: { spiffePath: '/n1', parentPath: '/spire/server', selectors: ['s:1'], federatesWith: [] },
  e2: { spiffePath: '/n2', parentPath: '/spire/server', selectors: ['s:2', 's:3'], federatesWith: [] },
  e3: { spiffePath: '/p1', parentPath: '/n1', selectors: ['s:1'], federatesWith: domains.slice(0, 1) },
  e4: { spiffePath: '/p2', parentPath: '/p1', selectors: ['s:1'], federatesWith: domains },
  e5: { spiffePath: '/p3', parentPath: '/n2', selectors: ['s:1'], federatesWith: domains.slice(1) },
};
const entryId = fc.constantFrom('e1', 'e2', 'e3', 'e4', 'e5', 'e6', 'e7', 'e8');
const agentIndex = fc.integer({ min: 0, max: agentPaths.length - 1 });
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('create' as const), id: entryId, shape }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('update' as const), id: entryId, shape }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('delete' as const), id: entryId }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('touch' as const), id: entryId }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('agent' as const), agent: agentIndex, selectors: fc.subarray(selectorTexts) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('evict' as const), agent: agentIndex }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('bundle' as const), domain: fc.constantFrom(...domains) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('dropBundle' as const),
      domain: fc.constantFrom(...domains),
      mode: fc.constantFrom('dissociate' as const, 'delete' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('take' as const), agent: agentIndex }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('disconnect' as const), agent: agentIndex }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('connect' as const), agent: agentIndex }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('compare' as const) }) },
);
type Shape = typeof shape extends fc.Arbitrary<infer T> ? T : never;
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

test('whatever happens, what a watching agent has is what a look at everything gives', { timeout: 120_000 }, async () => {
  const property = fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
    await using world = await World.start();
    for (const each of steps) await world.run(each);
    await world.compare();
  });
  await fc.assert(property, { numRuns: 500 });
});

class World implements AsyncDisposable {
  readonly rig: RegistryRig;
  readonly agents = agentPaths.map((path) => new WatchingAgent(idAt(path)));
  readonly connected = new Set<WatchingAgent>();

  private constructor(rig: RegistryRig) {
    this.rig = rig;
  }

  static async start(): Promise<World> {
    const world = new World(await RegistryRig.start());
    await world.rig.mutate(async (tx) => {
      for (const domain of domains) await tx.putBundle(new Bundle({ trustDomain: domain }));
      for (const { id } of world.agents) await tx.putAgent(newAgent({ id, selectors: selectorsOf('s:1', 's:2') }));
      // Something of each kind to begin with: two aliases, an entry below one, and one below that.
      for (const [id, fields] of Object.entries(FIRST)) await tx.createEntry(newEntry({ id, ...fieldsOf(fields) }));
    });
    for (const agent of world.agents) world.connect(agent);
    return world;
  }

  connect(agent: WatchingAgent): void {
    if (this.connected.has(agent)) return;
    agent.connect(this.rig.registry);
    this.connected.add(agent);
  }

  disconnect(agent: WatchingAgent): void {
    agent.disconnect();
    this.connected.delete(agent);
  }

  async run(each: Step): Promise<void> {
    const agent = 'agent' in each ? this.agents[each.agent] : undefined;
    if (each.do === 'compare') return this.compare();
    if (each.do === 'restart') {
      for (const connected of this.agents) this.disconnect(connected);
      return this.rig.restart();
    }
    if (agent !== undefined && each.do === 'connect') return this.connect(agent);
    if (agent !== undefined && each.do === 'disconnect') return this.disconnect(agent);
    if (agent !== undefined && each.do === 'take') return this.catchUp([agent]);
    // A step may ask for what cannot be, such as an update of nothing: then nothing happens.
    await this.rig.mutate((tx) => mutation(tx, each)).catch(onlyRefusals);
  }

  /** Brings agents to the present: something for all of them is published, and they read until they have it. */
  async catchUp(agents: readonly WatchingAgent[]): Promise<void> {
    const { registry, clock } = this.rig;
    for (const agent of agents) this.connect(agent);
    await this.rig.mutate((tx) => tx.putAuthority(authority(registry.revision)));
    clock.advance(10);
    for (const agent of agents) {
      while ((agent.resume?.revision ?? 0) < registry.revision) await agent.take(registry.feedId);
    }
  }

  async compare(): Promise<void> {
    await this.catchUp(this.agents);
    const { registry } = this.rig;
    for (const { id, entries, bundles } of this.agents) {
      const expected = naive(registry, registry.agents.get(id), id.toString());
      const byId = (a: Entry, b: Entry): number => (a.id < b.id ? -1 : 1);
      expect([...entries.values()].sort(byId)).toEqual(expected.sort(byId));
      expect([...registry.authorizedEntries(id)].sort(byId)).toEqual(expected);
      expect(
        registry.entries
          .list()
          .items.filter((entry) => registry.authorizedEntry(id, entry.id))
          .sort(byId),
      ).toEqual(expected);
      const wanted = new Set(expected.flatMap(({ federatesWith }) => federatesWith.map(({ name }) => name)));
      const federated = domains.filter(({ name }) => wanted.has(name)).map((domain) => registry.bundleOf(domain));
      const expectedBundles = new Set([registry.bundle.value, ...federated.filter((bundle) => bundle !== undefined)]);
      expect(new Set(bundles.values())).toEqual(expectedBundles);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.agents) agent.disconnect();
    await this.rig[Symbol.asyncDispose]();
  }
}

async function mutation(tx: Mutation, each: Step): Promise<unknown> {
  switch (each.do) {
    case 'create':
      return tx.createEntry(newEntry({ id: each.id, ...fieldsOf(each.shape) }));
    case 'update':
      return tx.updateEntry(each.id, fieldsOf(each.shape));
    case 'touch':
      return tx.updateEntry(each.id, { hint: 'touched' });
    case 'delete':
      return tx.deleteEntry(each.id);
    case 'agent':
      return tx.putAgent(newAgent({ id: idAt(agentPaths[each.agent] ?? ''), selectors: selectorsOf(...each.selectors) }));
    case 'evict':
      return tx.deleteAgent(idAt(agentPaths[each.agent] ?? ''));
    case 'bundle':
      return tx.putBundle(new Bundle({ trustDomain: each.domain, sequenceNumber: BigInt(Math.floor(Math.random() * 1e6)) }));
    case 'dropBundle':
      return tx.deleteBundle(each.domain, each.mode);
    default:
      return undefined;
  }
}

function fieldsOf({ spiffePath, parentPath, selectors, federatesWith }: Shape) {
  return { spiffeId: idAt(spiffePath), parentId: idAt(parentPath), selectors: selectorsOf(...selectors), federatesWith };
}

function authority(revision: number) {
  const fields = { expiresAtSeconds: 0, tainted: false, replicaId: 'r', upstreamSubjectKeyId: '' };
  return { kind: 'jwt', id: 'kid', publicBytes: Uint8Array.from(`${revision}`, Number), ...fields } as const;
}

function onlyRefusals(error: unknown): void {
  if (!isIdentityError(error)) throw error;
}

/** The authorized entries by looking at all entries again and again, until nothing is added. */
function naive(registry: Registry, agent: Agent | undefined, agentId: string): Entry[] {
  const all = registry.entries.list().items;
  const has = new Set(agent?.selectors.map(selectorText));
  const ids = new Set([agentId]);
  for (const entry of all) {
    if (isNodeAlias(entry) && entry.selectors.every((selector) => has.has(selectorText(selector))))
      ids.add(entry.spiffeId.toString());
  }
  const found = new Set<Entry>();
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const entry of all) {
      if (isNodeAlias(entry) || !ids.has(entry.parentId.toString())) continue;
      found.add(entry);
      ids.add(entry.spiffeId.toString());
    }
  }
  return [...found];
}
