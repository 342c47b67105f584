import { describe, expect, test } from 'vitest';
import { RateLimiter } from '../../../../ca/api/rate-limit.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { codeOf } from '../../../support/thrown-by.ts';

function limiter(perSecond: number, maxWaitMs = 2000) {
  const clock = new ManualClock();
  const limit = new RateLimiter({ clock, perSecond, maxWaitMs });
  const take = (count = 1, address: string | null = '192.0.2.1', deadlineMs?: number) =>
    limit.take({ address: address ?? undefined, count, deadlineMs, signal: () => undefined });
  return { clock, take };
}

describe('a rate limit', () => {
  test('lets a second of calls through, then makes callers wait their turn', async () => {
    const { clock, take } = limiter(2);
    expect([take(), take()]).toEqual([undefined, undefined]);
    const turn = take();
    expect(clock.nextTimerMs).toBe(500);
    clock.advance(500);
    await expect(turn).resolves.toBeUndefined();
  });

  test('counts each address for itself and the local socket not at all', () => {
    const { take } = limiter(1);
    expect([take(1, '192.0.2.1'), take(1, '192.0.2.2'), take(1, null), take(1, null)]).toEqual(Array(4).fill(undefined));
  });

  test('refuses who would wait too long, or longer than it has time', () => {
    const { clock, take } = limiter(1);
    void take();
    void take(1, '192.0.2.1');
    void take(1, '192.0.2.1');
    expect(codeOf(() => take())).toBe('resource_exhausted');
    clock.advance(2000);
    expect(codeOf(() => take(1, '192.0.2.1', clock.monotonicMs() + 100))).toBe('resource_exhausted');
  });

  test('refuses more at once than a second allows', () => {
    const { take } = limiter(500);
    expect(codeOf(() => take(501))).toBe('resource_exhausted');
    expect(take(500)).toBeUndefined();
  });

  test('is off at 0', () => {
    const { take } = limiter(0);
    expect(take(1_000_000)).toBeUndefined();
  });

  test('forgets addresses that went quiet, but not their debt', () => {
    const { clock, take } = limiter(1, 300_000);
    void take();
    void take();
    clock.advance(61_000);
    void take();
    clock.advance(500);
    expect(take()).toBeInstanceOf(Promise);
  });
});
