import { describe, expect, test } from 'vitest';
import { Backoff } from '../../../core/backoff.ts';

describe('backoff', () => {
  test('doubles its ceiling up to the maximum, and starts again after a success', () => {
    const backoff = new Backoff({ initialMs: 100, maxMs: 500, random: () => 0.5 });
    expect([1, 2, 3, 4, 5].map(() => backoff.nextMs())).toEqual([50, 100, 200, 250, 250]);
    backoff.reset();
    expect(backoff.nextMs()).toBe(50);
  });

  test('has full jitter: a delay may be anything up to the ceiling', () => {
    const backoff = new Backoff({ initialMs: 1000, maxMs: 1000 });
    const delays = Array.from({ length: 500 }, () => backoff.nextMs());
    expect(Math.min(...delays)).toBeLessThan(200);
    expect(Math.max(...delays)).toBeGreaterThan(800);
    expect(delays.every((delay) => delay >= 0 && delay < 1000)).toBe(true);
  });
});
