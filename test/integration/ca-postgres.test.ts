import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { Policies, type ResourceStatus } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { EnforcingAgent } from '../support/enforcing-agent.ts';
import { policyOnWire } from '../support/policies.ts';
import { postgresMissing, startPostgres, type PostgresCluster } from '../support/postgres.ts';
import { failureOf } from '../support/rpc-failure.ts';
import { RunningCa } from '../support/running-ca.ts';
import { attestByToken, attestTestAgent } from '../support/test-agent.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey } from '../support/test-keys.ts';

const missing = postgresMissing();
const own = (path: string) => ({ trustDomain: 'example.org', path });
const entryOf = (path: string, parentPath: string) => ({
  spiffeId: own(path),
  parentId: own(parentPath),
  selectors: [{ type: 'unix', value: 'uid:1' }],
});

describe.skipIf(missing !== undefined)(`CA on PostgreSQL${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let cluster: PostgresCluster;
  let folder: string;
  beforeAll(async () => {
    cluster = await startPostgres();
    folder = await mkdtemp(join(tmpdir(), 'pg-'));
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });
  function yaml(): string {
    const urlFile = join(folder, `url-${Math.random()}`);
    writeFileSync(urlFile, `${cluster.createDatabase()}\n`);
    return `store: { kind: postgres, urlFile: ${urlFile} }`;
  }

  test('replicas serve what another wrote: entries, agents, authorities, join tokens', async () => {
    const store = yaml();
    await using one = await RunningCa.start({ yaml: store });
    await using two = await RunningCa.start({ yaml: store });
    const { value } = await one.local(Agent).createJoinToken({ ttl: 60 });
    const key = createTestKey();
    const svid = await attestByToken(two.remote(), value, key);
    const { results } = await two.local(Entry).batchCreateEntry({ entries: [entryOf('/replicated', svid.id?.path ?? '')] });
    const entryId = results[0]?.entry?.id ?? '';
    const signing = one.remote({ chain: svid.certChain, key }).client(SVID);
    await expect
      .poll(async () => {
        const batch = await signing.batchNewX509SVID({ params: [{ entryId, csr: createTestCsr({ uris: [] }) }] });
        return batch.results[0]?.status?.code;
      })
      .toBe(0);
    const bundles = await Promise.all([one, two].map((ca) => ca.local(Bundle).getBundle({})));
    expect(bundles.map(({ x509Authorities }) => x509Authorities.length)).toEqual([2, 2]);
  });

  test('replicas know each other’s policies, and which nodes of the other enforce or refuse them', async () => {
    const store = yaml();
    await using one = await RunningCa.start({ yaml: store });
    await using two = await RunningCa.start({ yaml: store });
    const nodes = await Promise.all([one, two].map((ca) => attestTestAgent(ca)));
    const entries = nodes.map(({ id }) => ({
      ...entryOf(`/web${id.path.slice(-8)}`, id.path),
      selectors: [{ type: 'k8s', value: 'ns:shop' }],
    }));
    await one.local(Entry).batchCreateEntry({ entries });
    const stop = new AbortController();
    const statuses = two.local(Policies).watchStatus({}, { signal: stop.signal })[Symbol.asyncIterator]();
    await statuses.next();
    using first = new EnforcingAgent(nodes[0]?.connection ?? never());
    using second = new EnforcingAgent(nodes[1]?.connection ?? never());
    await Promise.all([first.next(), second.next()]);

    const startedMs = performance.now();
    const keys = ['AuthorizationPolicy/shop/one', 'AuthorizationPolicy/shop/two'];
    await one.local(Policies).setResources({ resources: keys.map((key) => policyOnWire(key)) });
    const answers = await Promise.all([first, second].map((agent) => agent.until('AuthorizationPolicy/shop/one')));
    expect(performance.now() - startedMs).toBeLessThan(1000);
    first.refuse(answers[0] ?? never(), 'AuthorizationPolicy/shop/two');
    first.acknowledge(answers[0] ?? never());
    second.acknowledge(answers[1] ?? never());
    const last = new Map<string, ResourceStatus>();
    while (last.get('one')?.nodesProgrammed !== 2) {
      const { value } = await statuses.next();
      for (const status of value?.statuses ?? []) last.set(status.name?.name ?? '', status);
    }
    expect(last.get('one')).toMatchObject({ nodesConcerned: 2, nodesRefused: 0 });
    const refusal = { agentId: nodes[0]?.id.toString(), reason: 'cannot be read' };
    expect(last.get('two')).toMatchObject({ nodesConcerned: 2, nodesProgrammed: 1, nodesRefused: 1, refusal });
    stop.abort();
  });

  test('while the store is down known agents are signed for, mutations say so, and afterwards all goes on', async () => {
    await using ca = await RunningCa.start({ yaml: yaml() });
    const agent = await attestTestAgent(ca);
    const { results } = await ca.local(Entry).batchCreateEntry({ entries: [entryOf('/steady', agent.id.path)] });
    const entryId = results[0]?.entry?.id ?? '';
    const { value: token } = await ca.local(Agent).createJoinToken({ ttl: 600 });
    cluster.crash();
    try {
      const sign = { params: [{ entryId, csr: createTestCsr({ uris: [] }) }] };
      const signed = await agent.connection.client(SVID).batchNewX509SVID(sign);
      expect(signed.results[0]?.status?.code).toBe(0);
      expect((await agent.connection.client(Entry).getAuthorizedEntries({})).entries).toHaveLength(1);
      const csr = createTestCsr({ uris: ['spiffe://example.org/minted'] });
      expect(await failureOf(ca.local(SVID).mintX509SVID({ csr }))).toMatchObject({ code: 'ok' });
      const mutations = [
        ca.local(Entry).batchCreateEntry({ entries: [entryOf('/late', '/x')] }),
        ca.local(Entry).batchDeleteEntry({ ids: [entryId] }),
        ca.local(Agent).createJoinToken({ ttl: 60 }),
        ca.local(Agent).banAgent({ id: own(agent.id.path) }),
        ca.local(Bundle).batchSetFederatedBundle({ bundle: [{ trustDomain: 'late.example' }] }),
        attestByToken(ca.remote(), token),
        agent.connection.client(Agent).renewAgent({ params: { csr: createTestCsr({ uris: [] }) } }),
      ];
      for (const failure of await Promise.all(mutations.map(failureOf))) {
        expect(failure.code).toBe('unavailable');
        expect(failure.message).toContain('store');
      }
      const ready = async (): Promise<unknown> => (await fetch(`http://127.0.0.1:${ca.ca.httpPort}/readyz`)).json();
      const degraded = { ok: true, reason: expect.stringContaining('degraded') as unknown };
      await expect.poll(ready).toMatchObject({ ready: true, checks: { store: degraded, audit: { ok: true } } });
    } finally {
      cluster.start();
    }
    await expect.poll(() => failureOf(attestByToken(ca.remote(), token)), { timeout: 20_000 }).toMatchObject({ code: 'ok' });
    await expect.poll(() => failureOf(ca.local(Entry).batchDeleteEntry({ ids: [entryId] }))).toMatchObject({ code: 'ok' });
  });

  test('a join token works once, whichever replica is asked', async () => {
    const store = yaml();
    await using one = await RunningCa.start({ yaml: store });
    await using two = await RunningCa.start({ yaml: store });
    const { value } = await one.local(Agent).createJoinToken({ ttl: 60 });
    const connections = [one.remote(), two.remote()];
    const key = createTestKey();
    const attempts = Array.from({ length: 60 }, (_, index) =>
      failureOf(attestByToken(connections[index % 2] ?? one.remote(), value, key)),
    );
    const codes = (await Promise.all(attempts)).map(({ code }) => code);
    expect(codes.filter((code) => code === 'ok')).toHaveLength(1);
    expect(codes.filter((code) => code === 'invalid_argument')).toHaveLength(59);
  });
});

function never(): never {
  throw new Error('there is none');
}
