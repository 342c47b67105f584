import { beforeEach, describe, expect, test } from 'vitest';

import { RequestQueue, type Attempt } from '../../../../controller/pod-certificates/request-queue.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

/** An attempt that a test lets end. */
interface Started {
  readonly item: string;
  readonly attempt: number;
  end(result: Attempt): Promise<void>;
}

const DONE: Attempt = { done: true };
let clock: ManualClock;
let started: Started[];

beforeEach(() => {
  clock = new ManualClock();
  started = [];
});

function queueOf(concurrency = 2): RequestQueue<string> {
  return new RequestQueue<string>({
    work: (item, attempt) => {
      const { promise, resolve } = Promise.withResolvers<Attempt>();
      started.push({
        item,
        attempt,
        end: async (result) => {
          resolve(result);
          // What follows an attempt follows in the next turns of the microtask queue.
          await new Promise((next) => setImmediate(next));
        },
      });
      return promise;
    },
    concurrency,
    clock,
  });
}

const seen = () => started.map(({ item, attempt }) => `${item}#${attempt}`);

describe('the queue of requests', () => {
  test('works on a bounded number at one time, in order', async () => {
    const queue = queueOf(2);
    for (const key of ['a', 'b', 'c']) queue.put(key, key);
    expect(seen()).toEqual(['a#0', 'b#0']);
    await started[0]?.end(DONE);
    expect(seen()).toEqual(['a#0', 'b#0', 'c#0']);
    expect(queue.size).toBe(2);
  });

  test('tries again after the time that the attempt named', async () => {
    const queue = queueOf();
    queue.put('a', 'a');
    await started[0]?.end({ done: false, retryAfterMs: 500 });
    clock.advance(499);
    expect(seen()).toEqual(['a#0']);
    clock.advance(1);
    expect(seen()).toEqual(['a#0', 'a#1']);
    await started[1]?.end(DONE);
    expect([queue.size, clock.timers]).toEqual([0, 0]);
  });

  test('an item that is put again is tried at once, as it is now', async () => {
    const queue = queueOf();
    queue.put('a', 'old');
    await started[0]?.end({ done: false, retryAfterMs: 60_000 });
    queue.put('a', 'new');
    expect(seen()).toEqual(['old#0', 'new#0']);
    expect(clock.timers).toBe(0);
  });

  test('an item that is put again while it runs is tried again when it ends, whatever came of it, and never twice at once', async () => {
    const queue = queueOf();
    queue.put('a', 'old');
    queue.put('a', 'new');
    expect(seen()).toEqual(['old#0']);
    await started[0]?.end(DONE);
    expect(seen()).toEqual(['old#0', 'new#0']);
    await started[1]?.end(DONE);
    expect(queue.size).toBe(0);
  });

  test('a removed item is forgotten: waiting, ready or running', async () => {
    const queue = queueOf(1);
    queue.put('a', 'a');
    queue.put('b', 'b');
    queue.remove('b');
    queue.remove('a');
    await started[0]?.end({ done: false, retryAfterMs: 10 });
    clock.advance(1_000);
    expect([seen(), queue.size, clock.timers]).toEqual([['a#0'], 0, 0]);
  });

  test('an item that is removed and put anew while the old one runs is an item of its own', async () => {
    const queue = queueOf();
    queue.put('a', 'old');
    queue.remove('a');
    queue.put('a', 'new');
    expect(seen()).toEqual(['old#0', 'new#0']);
    await started[0]?.end(DONE);
    expect(queue.size).toBe(1);
  });

  test('starts nothing after it has ended', async () => {
    const queue = queueOf(1);
    queue.put('a', 'a');
    queue.put('b', 'b');
    queue[Symbol.dispose]();
    await started[0]?.end(DONE);
    queue.put('c', 'c');
    expect(seen()).toEqual(['a#0']);
  });
});
