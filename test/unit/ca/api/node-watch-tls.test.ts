import { afterAll, beforeAll, expect, test } from 'vitest';
import { Node } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import type { WatchResponse } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import { Agent } from '../../../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { PermissionDeniedDetails_Reason as Reason } from '../../../../proto/gen/spire/api/types/status_pb.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
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
    yield { message: { case: 'subscribe', value: {} } } as const;
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

test('a local admin, and whoever has no certificate, may not watch', async () => {
  async function* requests() {
    yield { message: { case: 'subscribe', value: {} } } as const;
  }
  for (const connection of [ca.local(Node), ca.remote().client(Node)]) {
    const responses = connection.watch(requests())[Symbol.asyncIterator]();
    expect(await failureOf(responses.next())).toMatchObject({ code: 'permission_denied' });
  }
});
