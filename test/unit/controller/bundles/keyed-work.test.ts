import { pino } from 'pino';
import { describe, expect, it } from 'vitest';

import { KeyedWork } from '../../../../controller/bundles/keyed-work.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

/** Work whose end a test decides. */
class Held {
  readonly begun: string[] = [];
  readonly #ends = new Map<string, PromiseWithResolvers<void>>();
  readonly clock = new ManualClock();
  readonly stop = new AbortController();
  readonly work = new KeyedWork({
    work: (key) => {
      this.begun.push(key);
      const end = Promise.withResolvers<void>();
      this.#ends.set(key, end);
      return end.promise;
    },
    parallel: 2,
    clock: this.clock,
    log: pino({ level: 'silent' }),
    signal: this.stop.signal,
  });

  async end(key: string, error?: Error): Promise<void> {
    const end = this.#ends.get(key);
    if (error === undefined) end?.resolve();
    else end?.reject(error);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('work by key', () => {
  it('does a few keys at once, each one at a time, and again what was added meanwhile', async () => {
    const held = new Held();
    for (const key of ['a', 'b', 'c', 'a', 'c']) held.work.add(key);
    expect(held.begun).toEqual(['a', 'b']);
    await held.end('b');
    expect(held.begun).toEqual(['a', 'b', 'c']);
    await held.end('c');
    expect(held.begun).toEqual(['a', 'b', 'c']);
    await held.end('a');
    expect(held.begun).toEqual(['a', 'b', 'c', 'a']);
    await held.end('a');
    await held.work.idle();
  });

  it('tries again what failed, and counts it', async () => {
    const held = new Held();
    held.work.add('a');
    await held.end('a', new Error('no'));
    expect([held.begun.length, held.work.failing]).toEqual([1, 1]);
    held.clock.advance(500);
    await expect.poll(() => held.begun.length).toBe(2);
    await held.end('a');
    expect(held.work.failing).toBe(0);
  });

  it('begins nothing after its signal', async () => {
    const held = new Held();
    for (const key of ['a', 'b', 'c']) held.work.add(key);
    held.stop.abort();
    await held.end('a');
    await held.end('b', new Error('no'));
    await held.work.idle();
    held.clock.advance(60_000);
    expect(held.begun).toEqual(['a', 'b']);
  });
});
