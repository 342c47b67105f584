import { afterEach, beforeEach, expect, test } from 'vitest';
import { PolicyProgress } from '../../../../ca/policies/progress.ts';
import { StreamPolicyProgress } from '../../../../ca/policies/stream-progress.ts';
import type { Mutation, Store } from '../../../../ca/store/store.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { idAt, newAgent } from '../../../support/entries.ts';
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

const stored = (id = one) => rig.registry.progress.get(id.toString())?.revision;

test('the first goes to the store within 200 ms, all agents in one transaction, and is known here at once', async () => {
  progress.note(one, 7);
  expect(progress.of(one.toString())).toBe(7);
  progress.note(two, 7);
  expect(stored()).toBeUndefined();
  await pass(200);
  expect([stored(one), stored(two), writes]).toEqual([7, 7, 1]);
});

test('more comes after five seconds, what is newest then', async () => {
  progress.note(one, 7);
  await pass(200);
  for (let revision = 8; revision <= 20; revision += 1) {
    progress.note(one, revision);
    await pass(300);
  }
  expect([stored(), writes, progress.of(one.toString())]).toEqual([7, 1, 20]);
  await pass(1500);
  expect([stored(), writes]).toEqual([20, 2]);
});

test('nothing is written while nobody gets on', async () => {
  progress.note(one, 7);
  await pass(200);
  progress.note(one, 7);
  progress.note(one, 5);
  await pass(60_000);
  expect(writes).toBe(1);
});

test('what the store does not take is tried again, and is known here meanwhile', async () => {
  isDown = true;
  progress.note(one, 7);
  await pass(200);
  expect([stored(), progress.of(one.toString()), writes]).toEqual([undefined, 7, 1]);
  isDown = false;
  await pass(5000);
  expect([stored(), writes]).toEqual([7, 2]);
});

test('of what a stream acknowledges, only what puts policies in force is noted', () => {
  const noted: number[] = [];
  const stream = new StreamPolicyProgress(one, {
    of: () => noted.at(-1) ?? 0,
    note: (_id, revision) => void noted.push(revision),
  });
  stream.acknowledged(5);
  stream.sent(0);
  stream.acknowledged(6);
  stream.sent(7);
  stream.sent(9);
  stream.acknowledged(6);
  expect(noted).toEqual([]);
  stream.acknowledged(8);
  expect(noted).toEqual([8]);
  stream.acknowledged(12);
  stream.acknowledged(13);
  expect(noted).toEqual([8, 12]);
});
