import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { isNodeAlias, policyResourceKey, selectorText } from '../../../../ca/model.ts';
import type { Agent, Entry, NewEntry } from '../../../../ca/model.ts';
import type { AgentDelta, Registry, Resume } from '../../../../ca/registry/registry.ts';
import type { Mutation } from '../../../../ca/store/store.ts';
import { isIdentityError } from '../../../../core/errors.ts';
import { metadataOf } from '../../../../policy/workload-metadata.ts';
import type { WorkloadMetadata } from '../../../../policy/workload-metadata.ts';
import type { SpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { idAt, newAgent, newEntry, selectorsOf } from '../../../support/entries.ts';
import { policyResource } from '../../../support/policies.ts';
import { RegistryRig } from '../../../support/registry-rig.ts';

// A small world, so that namespaces, parents, aliases and agents often meet.
const agentPaths = ['/spire/agent/a', '/spire/agent/b', '/spire/agent/c'];
const workloadPaths = ['/p1', '/p2', '/p3'];
const nodePaths = ['/n1'];
const nodeSelectors = ['s:1', 's:2'];
const texts = ['k8s:ns:one', 'k8s:ns:two', 'k8s:ns:three', 'k8s:sa:x', 'k8s:sa:y', 'unix:uid:1'];
const policyKeys = ['one', 'two', 'three'].flatMap((name) => [
  `AuthorizationPolicy/${name}/p`,
  `RequestAuthentication/${name}/r`,
]);
const keys = [...policyKeys, 'ClusterAuthorizationPolicy//all'];

const shape = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      spiffePath: fc.constantFrom(...workloadPaths),
      parentPath: fc.constantFrom(...agentPaths, ...workloadPaths, ...nodePaths),
      selectors: fc.subarray(texts, { minLength: 1, maxLength: 2 }),
      workload: fc.option(fc.constantFrom<WorkloadMetadata>({ namespace: 'two' }, { namespace: 'one', serviceAccount: 'x' }), {
        nil: undefined,
        freq: 3,
      }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      spiffePath: fc.constantFrom(...nodePaths),
      parentPath: fc.constant('/spire/server'),
      selectors: fc.subarray(nodeSelectors, { minLength: 1 }),
      workload: fc.constant(undefined),
    }),
  },
);
const entryId = fc.constantFrom('e1', 'e2', 'e3', 'e4', 'e5', 'e6');
const agentIndex = fc.integer({ min: 0, max: agentPaths.length - 1 });
const key = fc.constantFrom(...keys);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('create' as const), id: entryId, shape }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('update' as const), id: entryId, shape }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('delete' as const), id: entryId }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('touch' as const), id: entryId }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('agent' as const), agent: agentIndex, selectors: fc.subarray(nodeSelectors) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('evict' as const), agent: agentIndex }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('put' as const),
      keys: fc.uniqueArray(key, { minLength: 1, maxLength: 3 }),
      generation: fc.nat(99),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('drop' as const), keys: fc.uniqueArray(key, { minLength: 1, maxLength: 3 }) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('disconnect' as const), agent: agentIndex }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('connect' as const), agent: agentIndex }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pause' as const), agent: agentIndex }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('compare' as const) }) },
);
type Shape = typeof shape extends fc.Arbitrary<infer T> ? T : never;
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

test('whatever happens, an agent has the policies of its namespaces and the workloads of all', { timeout: 120_000 }, async () => {
  const property = fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 50 }), async (steps) => {
    await using world = await World.start();
    for (const each of steps) await world.run(each);
    await world.compare();
  });
  await fc.assert(property, { numRuns: 300 });
});

/** An agent that applies each delta at once, unless it pauses; it never acknowledges, for nobody asks here. */
class Reader {
  readonly id: SpiffeId;
  readonly policies = new Map<string, number>();
  readonly workloads = new Map<string, WorkloadMetadata>();
  isPaused = false;
  isConnected = false;
  #resume: Resume | undefined;
  #stop = new AbortController();
  #goOn: () => void = () => {};

  constructor(path: string) {
    this.id = idAt(path);
  }

  connect(registry: Registry): void {
    if (this.isConnected) return;
    this.isConnected = true;
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    const watch = registry.watchAgent(this.id, { resume: this.#resume, kinds: new Set(['policy', 'workload']), signal });
    void this.#read(watch, registry.feedId, signal);
  }

  disconnect(): void {
    this.isConnected = false;
    this.#stop.abort();
    this.goOn();
  }

  goOn(): void {
    this.isPaused = false;
    this.#goOn();
  }

  async #read(watch: AsyncIterable<AgentDelta>, feedId: string, signal: AbortSignal): Promise<void> {
    for await (const delta of watch) {
      while (this.isPaused) await new Promise<void>((resolve) => void (this.#goOn = resolve));
      // What comes after the connection was lost was never received.
      if (signal.aborted) return;
      this.#apply(delta);
      this.#resume = { feedId, revision: delta.revision };
    }
  }

  #apply({ snapshot, authorization }: AgentDelta): void {
    if (snapshot) {
      this.policies.clear();
      this.workloads.clear();
    }
    for (const name of authorization?.removedPolicies ?? []) this.policies.delete(name);
    for (const { policy } of authorization?.policies ?? []) this.policies.set(policyResourceKey(policy), policy.generation);
    for (const { spiffeId, metadata } of authorization?.sharedWorkloads ?? []) this.workloads.set(spiffeId, metadata);
    for (const name of authorization?.removedWorkloads ?? []) this.workloads.delete(name);
    for (const { spiffeId, metadata } of authorization?.workloads ?? []) this.workloads.set(spiffeId, metadata);
  }
}

class World implements AsyncDisposable {
  readonly rig: RegistryRig;
  readonly agents = agentPaths.map((path) => new Reader(path));

  private constructor(rig: RegistryRig) {
    this.rig = rig;
  }

  static async start(): Promise<World> {
    const world = new World(await RegistryRig.start());
    await world.rig.mutate(async (tx) => {
      for (const { id } of world.agents) await tx.putAgent(newAgent({ id, selectors: selectorsOf('s:1') }));
      await tx.createEntry(
        newEntry({ id: 'e1', spiffeId: idAt('/n1'), parentId: idAt('/spire/server'), selectors: selectorsOf('s:1') }),
      );
      await tx.createEntry(
        newEntry({ id: 'e2', spiffeId: idAt('/p1'), parentId: idAt('/n1'), selectors: selectorsOf('k8s:ns:one') }),
      );
      await tx.putPolicies(keys.slice(2).map((each) => policyResource(each)));
    });
    for (const agent of world.agents) agent.connect(world.rig.registry);
    return world;
  }

  async run(each: Step): Promise<void> {
    const agent = 'agent' in each ? this.agents[each.agent] : undefined;
    if (each.do === 'compare') return this.compare();
    if (each.do === 'restart') {
      for (const connected of this.agents) connected.disconnect();
      return this.rig.restart();
    }
    if (agent !== undefined && each.do === 'connect') return agent.connect(this.rig.registry);
    if (agent !== undefined && each.do === 'disconnect') return agent.disconnect();
    if (agent !== undefined && each.do === 'pause') return void (agent.isPaused = true);
    // A step may ask for what cannot be, such as an update of nothing: then nothing happens.
    await this.rig.mutate((tx) => mutation(tx, each)).catch(onlyRefusals);
    this.rig.clock.advance(5);
    await turn();
  }

  /** All agents are there and read; nothing but what happened before makes the registry tell them. */
  async compare(): Promise<void> {
    const { registry, clock } = this.rig;
    for (const agent of this.agents) {
      agent.goOn();
      agent.connect(registry);
    }
    for (let round = 0; round < 4; round += 1) {
      await turn();
      clock.advance(60);
    }
    await turn();
    for (const { id, policies, workloads } of this.agents) {
      const entries = naive(registry, registry.agents.get(id), id.toString());
      expect(sorted(policies)).toEqual(sorted(policiesOf(registry, entries)));
      expect(sorted(workloads)).toEqual(sorted(workloadsOf(registry)));
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
    case 'put':
      return tx.putPolicies(each.keys.map((name) => policyResource(name, { generation: each.generation })));
    case 'drop':
      return tx.deletePolicies(each.keys.map((name) => policyResource(name)));
    default:
      return undefined;
  }
}

function fieldsOf({ spiffePath, parentPath, selectors, workload }: Shape): Partial<NewEntry> {
  return { spiffeId: idAt(spiffePath), parentId: idAt(parentPath), selectors: selectorsOf(...selectors), workload };
}

function policiesOf(registry: Registry, entries: readonly Entry[]): ReadonlyMap<string, number> {
  const namespaces = new Set(entries.map((entry) => saidBy(entry).namespace));
  const own = registry.policies.list().filter(({ namespace }) => {
    return namespace === '' || namespaces.has(namespace) || namespaces.has(undefined);
  });
  return new Map(own.map((policy) => [policyResourceKey(policy), policy.generation]));
}

/** For each ID what all of its entries say. */
function workloadsOf(registry: Registry): ReadonlyMap<string, WorkloadMetadata> {
  const entries = registry.entries.list().items.filter((entry) => !isNodeAlias(entry));
  const groups = Map.groupBy(entries, ({ spiffeId }) => spiffeId.toString());
  const found = [...groups].map(([spiffeId, group]) => {
    const same = (part: keyof WorkloadMetadata): WorkloadMetadata => {
      const [value, ...others] = new Set(group.map((entry) => saidBy(entry)[part]));
      return value === undefined || others.length > 0 ? {} : { [part]: value };
    };
    return [spiffeId, { ...same('namespace'), ...same('serviceAccount') }] as const;
  });
  return new Map(found.filter(([, metadata]) => Object.keys(metadata).length > 0));
}

function saidBy({ workload, selectors }: Entry): WorkloadMetadata {
  return metadataOf(workload, selectors.map(selectorText));
}

function sorted<T>(map: ReadonlyMap<string, T>): readonly (readonly [string, T])[] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The authorized entries by looking at all entries again and again, until nothing is added. */
function naive(registry: Registry, agent: Agent | undefined, agentId: string): readonly Entry[] {
  const all = registry.entries.list().items;
  const has = new Set(agent?.selectors.map(selectorText));
  const aliases = all.filter((entry) => isNodeAlias(entry) && entry.selectors.every((each) => has.has(selectorText(each))));
  const ids = new Set([agentId, ...aliases.map(({ spiffeId }) => spiffeId.toString())]);
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

function onlyRefusals(error: unknown): void {
  if (!isIdentityError(error)) throw error;
}

function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
