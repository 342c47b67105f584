import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Policies } from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type {
  ListResourcesResponse,
  ResourceStatus,
  WatchStatusResponse,
} from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { EnforcingAgent } from '../../../support/enforcing-agent.ts';
import { policyOnWire } from '../../../support/policies.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestTestAgent } from '../../../support/test-agent.ts';
import type { TestAgent } from '../../../support/test-agent.ts';

const ENDLESS = 'user.claims.a.exists(a, user.claims.b.exists(b, user.claims.c.exists(c, user.claims.d.exists(d, a == d))))';

let ca: RunningCa;
beforeAll(async () => {
  ca = await RunningCa.start({ yaml: 'authorization: { default: deny }' });
});
afterAll(() => ca[Symbol.asyncDispose]());

const set = (...resources: ReturnType<typeof policyOnWire>[]) => ca.local(Policies).setResources({ resources });
const nameOf = (key: string) => policyOnWire(key).name;

async function list(kinds: string[] = []): Promise<readonly string[]> {
  const parts: ListResourcesResponse[] = [];
  for await (const part of ca.local(Policies).listResources({ kinds })) parts.push(part);
  return parts.flatMap(({ resources }) => resources.map(({ name }) => `${name?.kind}/${name?.namespace}/${name?.name}`));
}

describe('SetResources and DeleteResources', () => {
  test('put what is new as one change; what is there already costs no revision', async () => {
    const both = [policyOnWire('AuthorizationPolicy/set/one'), policyOnWire('ClusterAuthorizationPolicy//set')];
    const first = await set(...both);
    const again = await set(...both);
    expect(again.revision).toBe(first.revision);
    const changed = await set(...both, policyOnWire('RequestAuthentication/set/people'));
    expect(changed.revision).toBe(first.revision + 1n);
    expect(await list()).toEqual(expect.arrayContaining(['AuthorizationPolicy/set/one', 'ClusterAuthorizationPolicy//set']));
    expect(await list(['RequestAuthentication'])).toEqual(['RequestAuthentication/set/people']);
  });

  test('the list says what holds where no policy is about the destination, even when it is empty', async () => {
    const parts: ListResourcesResponse[] = [];
    for await (const part of ca.local(Policies).listResources({ kinds: ['RequestAuthentication'] })) parts.push(part);
    expect(parts.map(({ defaultAction }) => defaultAction)).toEqual(['deny']);
  });

  test('the same resource in another order of keys is the same', async () => {
    const resource = policyOnWire('AuthorizationPolicy/order/one');
    const { revision } = await set(resource);
    // The cast is sound: that is the form of the document.
    const { resource: parsed } = JSON.parse(resource.document) as { resource: Record<string, unknown> };
    const turned = JSON.stringify({ resource: Object.fromEntries(Object.entries(parsed).toReversed()) }, null, 2);
    expect((await set({ ...resource, document: turned })).revision).toBe(revision);
  });

  test('delete what is there; of what is not there nothing is to be done', async () => {
    await set(policyOnWire('AuthorizationPolicy/gone/one'), policyOnWire('AuthorizationPolicy/gone/two'));
    const names = ['AuthorizationPolicy/gone/one', 'AuthorizationPolicy/gone/never'].map(nameOf);
    const { revision } = await ca.local(Policies).deleteResources({ names });
    expect((await ca.local(Policies).deleteResources({ names })).revision).toBe(revision);
    expect((await list()).filter((key) => key.includes('/gone/'))).toEqual(['AuthorizationPolicy/gone/two']);
  });

  test('what an API server can store fits, in a simulation too; what is larger is refused with what to do', async () => {
    const large = (characters: number) => {
      const resource = policyOnWire('AuthorizationPolicy/large/one');
      // Nothing but its length is of interest; labels are kept as they are.
      const document = resource.document.replace(
        '"metadata":{',
        `"metadata":{"annotations":{"a":"${'é'.repeat(characters / 2)}"},`,
      );
      return { ...resource, document };
    };
    const kept = large(1_500_000);
    await set(kept);
    expect((await ca.local(Policies).simulate({ set: [kept] })).harmless).toBe(true);
    await ca.local(Policies).deleteResources({ names: [nameOf('AuthorizationPolicy/large/one')] });
    expect(await failureOf(set(large(2_100_000)))).toMatchObject({
      code: 'invalid_argument',
      message: expect.stringMatching(/document: must have at most 2097152 bytes; it has \d+: make several policies of it/),
    });
  });

  const good = policyOnWire('AuthorizationPolicy/bad/one');
  const at = (name: object) => ({ ...good, name: { ...good.name, ...name } });
  const withSpec = (spec: object) => {
    // The cast is sound: that is the form of the document.
    const { resource } = JSON.parse(good.document) as { resource: object };
    return { ...good, document: JSON.stringify({ resource: { ...resource, spec } }) };
  };
  test.each([
    ['no name', { document: good.document }, 'resources[1].name'],
    ['a kind that there is not', at({ kind: 'Policy' }), 'resources[1].name.kind'],
    ['no namespace', at({ namespace: '' }), 'resources[1].name.namespace'],
    ['a namespace that is none', at({ namespace: 'A/b' }), 'resources[1].name.namespace'],
    ['a namespace that is too long', at({ namespace: 'a'.repeat(64) }), 'resources[1].name.namespace'],
    ['an empty name', at({ name: '' }), 'resources[1].name.name'],
    ['a name that is too long', at({ name: 'a'.repeat(254) }), 'resources[1].name.name'],
    ['a cluster-wide one of a namespace', at({ kind: 'ClusterAuthorizationPolicy' }), 'resources[1].name.namespace'],
    ['another name', at({ name: 'other' }), 'resources[1].document.metadata.name'],
    ['another namespace', at({ namespace: 'other' }), 'resources[1].document.metadata.namespace'],
    ['another kind', at({ kind: 'RequestAuthentication' }), 'resources[1].document'],
    ['another kind of policy', at({ kind: 'ClusterAuthorizationPolicy', namespace: '' }), 'resources[1].document.kind'],
    ['no JSON', { ...good, document: '{' }, 'resources[1].document'],
    ['no object', { ...good, document: 'null' }, 'resources[1].document'],
    ['no resource', { ...good, document: '{}' }, 'resources[1].document'],
    ['an unknown field', withSpec({ rules: [{ form: [] }] }), 'resources[1].document.spec.rules[0].form'],
    [
      'a fault of a field',
      withSpec({ rules: [{ to: [{ ports: ['0'] }] }] }),
      'resources[1].document.spec.rules[0].to[0].ports[0]',
    ],
    [
      'a relation that can never be asked for',
      withSpec({ rules: [{ relations: [{ user: 'user:{path.id}', relation: 'viewer', object: 'order:1' }] }] }),
      'resources[1].document.spec.rules[0].relations[0].user',
    ],
    ['no CEL', withSpec({ rules: [{ when: 'request.path ==' }] }), 'resources[1].document.spec.rules[0].when'],
    ['a condition that is no condition', withSpec({ rules: [{}, { when: '"a"' }] }), 'resources[1].document.spec.rules[1].when'],
    ['CEL that could take long', withSpec({ rules: [{ when: ENDLESS }] }), 'resources[1].document.spec.rules[0].when'],
    [
      'no regular expression',
      withSpec({ action: 'DENY', rules: [{ to: [{ not: { paths: [{ exact: '/' }, { regex: '(' }] } }] }] }),
      'resources[1].document.spec.rules[0].to[0].not.paths[1].regex',
    ],
    [
      'a regular expression that becomes too large',
      withSpec({ rules: [{ to: [{ headers: [{ name: 'a', regex: '(a{100}){100}' }] }] }] }),
      'resources[1].document.spec.rules[0].to[0].headers[0].regex',
    ],
    ['an endless document', { ...good, document: ' '.repeat(512 * 1024 + 1) }, 'resources[1].document'],
    ['one twice', policyOnWire('AuthorizationPolicy/bad/first'), 'resources[1].name'],
  ])('[bad input] %s is refused by its field, and nothing is written', async (_what, resource, field) => {
    const resources = [policyOnWire('AuthorizationPolicy/bad/first'), resource];
    const { code, message } = await failureOf(ca.local(Policies).setResources({ resources }));
    expect({ code, message }).toMatchObject({ code: 'invalid_argument', message: expect.stringContaining(field) });
    expect((await list()).filter((key) => key.includes('/bad/'))).toEqual([]);
  });

  test('what a controller declares is in force all the same: missing, a DENY would let in what it is about', async () => {
    const { name, document } = withSpec({ action: 'DENY', rules: [{ when: 'request.path ==' }] });
    const labelled = document.replace('"name":"one"', '"name":"one","labels":{"countersign.dev/controller":"main"}');
    await set({ name, document: labelled });
    expect(await list()).toContain('AuthorizationPolicy/bad/one');
    await ca.local(Policies).deleteResources({ names: [name] });
  });

  test.each([
    ['a name that is none', [{ kind: 'AuthorizationPolicy', namespace: 'a', name: '/' }], 'names[0].name'],
    ['a kind that there is not', [{ kind: '', namespace: 'a', name: 'b' }], 'names[0].kind'],
  ])('[bad input] %s cannot be deleted', async (_what, names, field) => {
    expect(await failureOf(ca.local(Policies).deleteResources({ names }))).toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(field),
    });
  });

  test('[bad input] too many at once are refused before they are read', async () => {
    const names = Array.from({ length: 10_001 }, () => ({}));
    const { code, message } = await failureOf(ca.local(Policies).deleteResources({ names }));
    expect({ code, message }).toMatchObject({ code: 'invalid_argument', message: expect.stringContaining('names') });
  });

  test('[bad input] a kind that there is not cannot be listed', async () => {
    expect(await failureOf(list(['Policy']))).toMatchObject({ code: 'invalid_argument' });
  });
});

describe('an agent over TLS', () => {
  test('may not set, delete, list or watch', async () => {
    const client = (await attestTestAgent(ca)).connection.client(Policies);
    expect((await failureOf(client.setResources({}))).code).toBe('permission_denied');
    expect((await failureOf(client.deleteResources({}))).code).toBe('permission_denied');
    expect((await failureOf(first(client.listResources({})))).code).toBe('permission_denied');
    expect((await failureOf(first(client.watchStatus({})))).code).toBe('permission_denied');
  });

  test('has a policy within milliseconds, together with what it needs to know', async () => {
    const test = await attestTestAgent(ca);
    await register(test, 'soon', '/soon-web');
    using agent = new EnforcingAgent(test.connection);
    await agent.next();
    const tookMs: number[] = [];
    for (let round = 0; round < 20; round += 1) {
      const startedMs = performance.now();
      const setting = set(policyOnWire('AuthorizationPolicy/soon/one', { generation: round + 1 }));
      await agent.until('AuthorizationPolicy/soon/one');
      tookMs.push(performance.now() - startedMs);
      await setting;
    }
    expect(tookMs.toSorted((a, b) => a - b)[10]).toBeLessThan(100);
  });
});

describe('WatchStatus', () => {
  test('tells how many nodes a policy concerns, and how many enforce it, as they acknowledge', async () => {
    const [one, two, other] = [await attestTestAgent(ca), await attestTestAgent(ca), await attestTestAgent(ca)];
    for (const agent of [one, two]) await register(agent, 'nodes', `/nodes${agent.id.path}`);
    await register(other, 'elsewhere', '/elsewhere-web');
    using first = new EnforcingAgent(one.connection);
    using second = new EnforcingAgent(two.connection);
    await Promise.all([first.next(), second.next()]);
    await using statuses = new StatusWatch();

    const { revision } = await set(policyOnWire('AuthorizationPolicy/nodes/one', { generation: 7 }));
    const unacknowledged = await statuses.until('AuthorizationPolicy/nodes/one');
    expect(unacknowledged).toMatchObject({ revision, generation: 7n, nodesConcerned: 2, nodesProgrammed: 0, hits: 0n });
    first.acknowledge(await first.until('AuthorizationPolicy/nodes/one'));
    expect(await statuses.until('AuthorizationPolicy/nodes/one')).toMatchObject({ nodesConcerned: 2, nodesProgrammed: 1 });
    second.acknowledge(await second.until('AuthorizationPolicy/nodes/one'));
    expect(await statuses.until('AuthorizationPolicy/nodes/one')).toMatchObject({ nodesConcerned: 2, nodesProgrammed: 2 });

    await ca.local(Policies).deleteResources({ names: [nameOf('AuthorizationPolicy/nodes/one')] });
    expect(await statuses.until('AuthorizationPolicy/nodes/one')).toMatchObject({ revision: 0n, nodesConcerned: 0 });
  });

  test('a node that refuses a policy does not enforce it, until it has another that it takes', async () => {
    const test = await attestTestAgent(ca);
    await register(test, 'refused', '/refused-web');
    using agent = new EnforcingAgent(test.connection);
    await agent.next();
    await using statuses = new StatusWatch();
    const key = 'AuthorizationPolicy/refused/one';
    await set(policyOnWire(key), policyOnWire('AuthorizationPolicy/refused/two'));
    const answer = await agent.until(key);
    agent.refuse(answer, key);
    agent.acknowledge(answer);
    await statuses.until('AuthorizationPolicy/refused/two', { nodesProgrammed: 1 });
    const refusal = { agentId: test.id.toString(), reason: 'cannot be read' };
    expect(statuses.last(key)).toMatchObject({ nodesConcerned: 1, nodesProgrammed: 0, nodesRefused: 1, refusal });
    await set(policyOnWire(key, { generation: 2 }));
    agent.acknowledge(await agent.until(key));
    expect(await statuses.until(key, { nodesProgrammed: 1 })).toMatchObject({
      generation: 2n,
      nodesConcerned: 1,
      nodesRefused: 0,
    });
    expect(statuses.last(key)?.refusal).toBeUndefined();
  });

  test('an agent that resumes says by that what it enforces', async () => {
    const test = await attestTestAgent(ca);
    await register(test, 'resumed', '/resumed-web');
    await set(policyOnWire('AuthorizationPolicy/resumed/one'));
    let position = { feedId: '', resumeRevision: 0n };
    {
      // It goes away before it has acknowledged.
      using agent = new EnforcingAgent(test.connection);
      const last = (await agent.until('AuthorizationPolicy/resumed/one')).at(-1);
      position = { feedId: last?.feedId ?? '', resumeRevision: last?.revision ?? 0n };
    }
    await using statuses = new StatusWatch();
    expect(await statuses.until('AuthorizationPolicy/resumed/one')).toMatchObject({ nodesConcerned: 1, nodesProgrammed: 0 });
    using again = new EnforcingAgent(test.connection, position);
    expect(await again.next()).toMatchObject([{ snapshot: false }]);
    expect(await statuses.until('AuthorizationPolicy/resumed/one')).toMatchObject({ nodesConcerned: 1, nodesProgrammed: 1 });
  });

  test('a cluster-wide policy concerns those with a workload of its namespaces and of its SPIFFE IDs', async () => {
    const [web, api] = [await attestTestAgent(ca), await attestTestAgent(ca)];
    await register(web, 'wide', '/ns/wide/sa/web');
    await register(api, 'wide', '/ns/wide/sa/api');
    const everyone = { rules: [{}] };
    await set(
      policyOnWire('ClusterAuthorizationPolicy//all', { spec: everyone }),
      policyOnWire('ClusterAuthorizationPolicy//webs', {
        spec: { ...everyone, spiffeIDs: ['spiffe://example.org/ns/*/sa/web'] },
      }),
      policyOnWire('ClusterAuthorizationPolicy//both', { spec: { ...everyone, spiffeIDs: ['spiffe://example.org/ns/wide/**'] } }),
      policyOnWire('ClusterAuthorizationPolicy//none', { spec: { ...everyone, spiffeIDs: ['spiffe://example.org/ns/none/**'] } }),
      inNamespaces('ClusterAuthorizationPolicy//some', ['wide', 'nowhere']),
      inNamespaces('ClusterAuthorizationPolicy//nowhere', []),
    );
    await using statuses = new StatusWatch();
    const all = await statuses.all();
    const concerned = (name: string) => all.find((status) => status.name?.name === name)?.nodesConcerned;
    expect(['webs', 'both', 'none', 'some', 'nowhere'].map(concerned)).toEqual([1, 2, 0, 2, 0]);
    expect(concerned('all')).toBeGreaterThan(2);
  });
});

/** A cluster-wide policy whose namespaces were found. */
function inNamespaces(key: string, namespaces: readonly string[]) {
  const resource = policyOnWire(key, { spec: { namespaceSelector: { matchLabels: { tier: 'core' } }, rules: [{}] } });
  return { ...resource, document: JSON.stringify({ ...JSON.parse(resource.document), namespaces }) };
}

async function register({ id }: TestAgent, namespace: string, path: string): Promise<void> {
  const entry = {
    spiffeId: { trustDomain: 'example.org', path: path.replace('/spire/agent', '') },
    parentId: { trustDomain: 'example.org', path: id.path },
    selectors: [{ type: 'k8s', value: `ns:${namespace}` }],
  };
  const { results } = await ca.local(Entry).batchCreateEntry({ entries: [entry] });
  expect(results[0]?.status?.code).toBe(0);
}

/** The statuses as their stream tells them. */
class StatusWatch implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #responses: AsyncIterator<WatchStatusResponse>;
  readonly #last = new Map<string, ResourceStatus>();

  constructor() {
    this.#responses = ca.local(Policies).watchStatus({}, { signal: this.#stop.signal })[Symbol.asyncIterator]();
  }

  async all(): Promise<readonly ResourceStatus[]> {
    const found: ResourceStatus[] = [];
    for (;;) {
      const { statuses, complete } = await this.#next();
      found.push(...statuses);
      if (complete) return found;
    }
  }

  /** The last that was told of a resource. */
  last(key: string): ResourceStatus | undefined {
    return this.#last.get(key);
  }

  /** The next status of a resource, or the next of which something is so. */
  async until(key: string, wanted: { readonly nodesProgrammed?: number } = {}): Promise<ResourceStatus> {
    for (;;) {
      const { statuses } = await this.#next();
      const found = statuses.find((status) => keyOf(status) === key);
      if (found !== undefined && (wanted.nodesProgrammed ?? found.nodesProgrammed) === found.nodesProgrammed) return found;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#responses.next().catch(() => undefined);
  }

  async #next(): Promise<WatchStatusResponse> {
    const { value, done } = await this.#responses.next();
    if (done === true) throw new Error('the stream has ended');
    for (const status of value.statuses) this.#last.set(keyOf(status), status);
    return value;
  }
}

function keyOf({ name }: ResourceStatus): string {
  return `${name?.kind}/${name?.namespace}/${name?.name}`;
}

async function first<T>(stream: AsyncIterable<T>): Promise<T | undefined> {
  for await (const each of stream) return each;
  return undefined;
}
