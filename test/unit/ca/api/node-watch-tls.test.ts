import { afterAll, beforeAll, expect, test } from 'vitest';
import { Admin } from '../../../../proto/gen/countersign/admin/v1/admin_pb.ts';
import { Node } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import type { WatchResponse } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import { Agent } from '../../../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { PermissionDeniedDetails_Reason as Reason } from '../../../../proto/gen/spire/api/types/status_pb.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';
import { attestTestAgent } from '../../../support/test-agent.ts';
import type { TestAgent } from '../../../support/test-agent.ts';

let ca: RunningCa;
beforeAll(async () => {
  ca = await RunningCa.start();
});
afterAll(() => ca[Symbol.asyncDispose]());

/** The stream of an attested agent; it subscribes and stays silent. */
function watch(agent: TestAgent): { readonly next: () => Promise<WatchResponse>; readonly stop: AbortController } {
  const stop = new AbortController();
  async function* requests() {
    yield { message: { case: 'subscribe' as const, value: { kinds: ['entry', 'bundle'] } } };
    await new Promise((resolve) => stop.signal.addEventListener('abort', resolve, { once: true }));
  }
  const responses = agent.connection.client(Node).watch(requests(), { signal: stop.signal })[Symbol.asyncIterator]();
  const next = async (): Promise<WatchResponse> => {
    const { value, done } = await responses.next();
    if (done === true) throw new Error('the stream has ended');
    return value;
  };
  return { next, stop };
}

test('an attested agent gets what is registered for it, until it is banned', async () => {
  const agent = await attestTestAgent(ca);
  const { next, stop } = watch(agent);
  const first = await next();
  expect(first).toMatchObject({ snapshot: true, complete: true, resources: [{ kind: 'bundle', name: 'example.org' }] });

  const entry = {
    spiffeId: { trustDomain: 'example.org', path: '/web' },
    parentId: { trustDomain: 'example.org', path: agent.id.path },
    selectors: [{ type: 'unix', value: 'uid:1' }],
  };
  const { results } = await ca.local(Entry).batchCreateEntry({ entries: [entry] });
  expect(await next()).toMatchObject({ snapshot: false, resources: [{ kind: 'entry', name: results[0]?.entry?.id }] });

  await ca.local(Agent).banAgent({ id: { trustDomain: 'example.org', path: agent.id.path } });
  expect(await failureOf(next())).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_BANNED });
  stop.abort();
});

test('an evicted agent is told so', async () => {
  const agent = await attestTestAgent(ca);
  const { next, stop } = watch(agent);
  await next();
  await ca.local(Agent).deleteAgent({ id: { trustDomain: 'example.org', path: agent.id.path } });
  expect(await failureOf(next())).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_NOT_ATTESTED });
  stop.abort();
});

test('an agent that renewed its SVID comes back with the new one, without a denial', async () => {
  const agent = await attestTestAgent(ca);
  const before = watch(agent);
  await before.next();
  const key = createTestKey();
  const { svid } = await agent.connection.client(Agent).renewAgent({ params: { csr: createTestCsr({ key, uris: [] }) } });
  const connection = ca.remote({ chain: svid?.certChain ?? [], key });
  const after = watch({ ...agent, connection });
  expect(await after.next()).toMatchObject({ snapshot: true, complete: true });
  expect(await failureOf(before.next())).toMatchObject({ code: 'aborted', reason: undefined });
  const late = watch(agent);
  expect(await failureOf(late.next())).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_NOT_ACTIVE });
  for (const { stop } of [before, after, late]) stop.abort();
});

test('nor is it denied when the SVID of its stream runs out before the new one was used', async () => {
  await using shortLived = await RunningCa.start({ yaml: 'ttl: { agentSvid: 3s }' });
  const agent = await attestTestAgent(shortLived);
  const { next, stop } = watch(agent);
  await next();
  const expiresAtMs = Number(agent.svid.expiresAt) * 1000;
  // Late in its life, so that the new one lives longer.
  await expect.poll(() => Date.now()).toBeGreaterThan(expiresAtMs - 1500);
  await agent.connection.client(Agent).renewAgent({ params: { csr: createTestCsr({ key: createTestKey(), uris: [] }) } });
  expect(await failureOf(untilEnd(next))).toMatchObject({ code: 'aborted', reason: undefined });
  expect(Math.abs(Date.now() - expiresAtMs)).toBeLessThan(1000);
  stop.abort();
});

test('an agent whose only SVID runs out is denied', async () => {
  await using shortLived = await RunningCa.start({ yaml: 'ttl: { agentSvid: 3s }' });
  const agent = await attestTestAgent(shortLived);
  const { next, stop } = watch(agent);
  await next();
  const expiresAtMs = Number(agent.svid.expiresAt) * 1000;
  expect(await failureOf(untilEnd(next))).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_EXPIRED });
  expect(Math.abs(Date.now() - expiresAtMs)).toBeLessThan(1000);
  stop.abort();
});

/** Reads what still comes, such as bundles with rotated authorities, until the stream fails. */
async function untilEnd(next: () => Promise<WatchResponse>): Promise<never> {
  for (;;) await next();
}

test('a local admin, and whoever has no certificate, may not watch', async () => {
  async function* requests() {
    yield { message: { case: 'subscribe' as const, value: { kinds: ['entry', 'bundle'] } } };
  }
  for (const connection of [ca.local(Node), ca.remote().client(Node)]) {
    const responses = connection.watch(requests())[Symbol.asyncIterator]();
    expect(await failureOf(responses.next())).toMatchObject({ code: 'permission_denied' });
  }
});

test('a CA that stops ends its streams at once, so that agents and controllers go elsewhere', async () => {
  const stopping = await RunningCa.start();
  const { next } = watch(await attestTestAgent(stopping));
  await next();
  const bundles = stopping.local(Admin).watchBundle({})[Symbol.asyncIterator]();
  await bundles.next();
  const ended = Promise.all([next(), bundles.next()].map((answer) => failureOf(answer)));
  const startedMs = performance.now();
  await stopping.ca[Symbol.asyncDispose]();
  // Calls have five seconds to finish; none of these would.
  expect(performance.now() - startedMs).toBeLessThan(2_000);
  expect(await ended).toEqual([
    expect.objectContaining({ code: 'unavailable' }),
    expect.objectContaining({ code: 'unavailable' }),
  ]);
  await stopping[Symbol.asyncDispose]();
});
