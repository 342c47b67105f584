import { afterEach, beforeEach, expect, test } from 'vitest';
import { PolicyProgress } from '../../../../ca/policies/progress.ts';
import type { KnownProgress } from '../../../../ca/policies/progress.ts';
import { StreamPolicyProgress } from '../../../../ca/policies/stream-progress.ts';
import type { Mutation, Store } from '../../../../ca/store/store.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { createLogger } from '../../../../runtime/log.ts';
import type { SpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { idAt, newAgent } from '../../../support/entries.ts';
import { policyResource } from '../../../support/policies.ts';
import { RegistryRig } from '../../../support/registry-rig.ts';

const one = idAt('/spire/agent/one');
const two = idAt('/spire/agent/two');
const log = createLogger({ level: 'fatal', name: 'test' });

let rig: RegistryRig;
let progress: PolicyProgress;
let writes: number;
let isDown: boolean;

beforeEach(async () => {
  rig = await RegistryRig.start();
  await rig.mutate(async (tx) => {
    for (const id of [one, two]) await tx.putAgent(newAgent({ id }));
  });
  writes = 0;
  isDown = false;
  const store = new Proxy(rig.store, {
    get: (target, name) => {
      if (name === 'mutate') return counted;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  progress = new PolicyProgress({ store, registry: rig.registry, clock: rig.clock, log });
});
afterEach(async () => {
  await progress[Symbol.asyncDispose]();
  await rig[Symbol.asyncDispose]();
});

function counted<T>(work: (tx: Mutation) => Promise<T>): ReturnType<Store['mutate']> {
  writes += 1;
  return isDown ? Promise.reject(new IdentityError('unavailable', 'down')) : rig.store.mutate(work);
}

/** Lets time pass, and what begins then come to its end. */
async function pass(ms: number): Promise<void> {
  rig.clock.advance(ms);
  for (let turns = 0; turns < 10; turns += 1) await new Promise((resolve) => void setImmediate(resolve));
}

const note = (agentId: SpiffeId, revision: number, news: Partial<Parameters<PolicyProgress['note']>[1]> = {}) =>
  progress.note(agentId, { revision, refused: {}, isFresh: false, ...news });
const stored = (id = one) => rig.registry.progress.get(id.toString())?.revision;

test('the first goes to the store within 200 ms, all agents in one transaction, and is known here at once', async () => {
  note(one, 7);
  expect(progress.of(one.toString()).revision).toBe(7);
  note(two, 7);
  expect(stored()).toBeUndefined();
  await pass(200);
  expect([stored(one), stored(two), writes]).toEqual([7, 7, 1]);
});

test('more comes after five seconds, what is newest then', async () => {
  note(one, 7);
  await pass(200);
  for (let revision = 8; revision <= 20; revision += 1) {
    note(one, revision);
    await pass(300);
  }
  expect([stored(), writes, progress.of(one.toString()).revision]).toEqual([7, 1, 20]);
  await pass(1500);
  expect([stored(), writes]).toEqual([20, 2]);
});

test('nothing is written while nobody gets on', async () => {
  note(one, 7);
  await pass(200);
  note(one, 7);
  note(one, 5);
  await pass(60_000);
  expect(writes).toBe(1);
});

test('what the store does not take is tried again, and is known here meanwhile', async () => {
  isDown = true;
  note(one, 7);
  await pass(200);
  expect([stored(), progress.of(one.toString()).revision, writes]).toEqual([undefined, 7, 1]);
  isDown = false;
  await pass(5000);
  expect([stored(), writes]).toEqual([7, 2]);
});

test('what an agent refused is not in force, until it changes, goes, or the agent was sent everything and did not refuse it', async () => {
  const keys = ['AuthorizationPolicy/shop/one', 'AuthorizationPolicy/shop/two'];
  await rig.mutate((tx) => tx.putPolicies(keys.map((key) => policyResource(key))));
  const { revision } = rig.registry;
  const refused = Object.fromEntries(keys.map((key) => [key, revision]));
  const reasons = { 'AuthorizationPolicy/shop/one': 'no such field', 'AuthorizationPolicy/shop/never': 'gone' };
  const known = (): unknown => progress.of(one.toString()).refused;
  note(one, revision, { refused: { ...refused, 'AuthorizationPolicy/shop/never': revision }, reasons });
  expect(known()).toEqual(refused);
  await pass(200);
  expect(rig.registry.progress.get(one.toString())).toMatchObject({
    revision,
    refused,
    reasons: { 'AuthorizationPolicy/shop/one': 'no such field' },
  });
  await rig.mutate((tx) => tx.putPolicies([policyResource('AuthorizationPolicy/shop/one', { generation: 2 })]));
  note(one, revision + 2);
  expect(known()).toEqual({ 'AuthorizationPolicy/shop/two': revision });
  expect(progress.of(one.toString()).reasons).toBeUndefined();
  note(one, revision + 2, { isFresh: true });
  expect(known()).toEqual({});
});

test('of what a stream acknowledges, only what puts policies in force, or does not, is noted', () => {
  let known: KnownProgress = { revision: 0, refused: {} };
  const noted: unknown[] = [];
  const stream = new StreamPolicyProgress(one, {
    of: () => known,
    note: (_id, news) => {
      noted.push([news.revision, news.refused, news.isFresh, ...Object.values(news.reasons ?? {})]);
      known = { revision: Math.max(known.revision, news.revision), refused: news.refused };
    },
  });
  stream.acknowledged(5);
  stream.sent(0, true);
  stream.acknowledged(6);
  stream.sent(7, false);
  stream.sent(9, false);
  stream.acknowledged(6);
  expect(noted).toEqual([]);
  stream.acknowledged(8);
  expect(noted.splice(0)).toEqual([[8, {}, true]]);
  stream.acknowledged(12);
  stream.acknowledged(13);
  expect(noted.splice(0)).toEqual([[12, {}, false]]);
  // Refused before it is acknowledged, and after.
  stream.sent(14, false);
  stream.refused('a', 14, 'spec.rules\n\u001B[31m: no such field');
  stream.acknowledged(14);
  expect(noted.splice(0)).toEqual([[14, { a: 14 }, false, 'spec.rules [31m: no such field']]);
  stream.refused('b', 10, 'x'.repeat(500));
  expect(noted.splice(0)).toEqual([[0, { b: 10 }, false, `${'x'.repeat(199)}…`]]);
});
