import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { sleep, systemClock } from '../../../core/clock.ts';
import { ManualClock } from '../../support/manual-clock.ts';

describe('the machine’s clock', () => {
  test('reads wall time and a time that never goes back', () => {
    expect(Math.abs(systemClock.nowMs() - Date.now())).toBeLessThan(1000);
    const before = systemClock.monotonicMs();
    expect(systemClock.monotonicMs()).toBeGreaterThanOrEqual(before);
  });
});

describe('timers of the machine’s clock', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  test('fire once', () => {
    const fire = vi.fn<() => void>();
    systemClock.setTimer(1000, fire);
    vi.advanceTimersByTime(999);
    expect(fire).not.toHaveBeenCalled();
    vi.advanceTimersByTime(10_000);
    expect(fire).toHaveBeenCalledTimes(1);
  });

  test('do not fire once cancelled; to cancel later is harmless', () => {
    const fire = vi.fn<() => void>();
    const timer = systemClock.setTimer(10, fire);
    timer.cancel();
    vi.advanceTimersByTime(1000);
    expect(fire).not.toHaveBeenCalled();
    timer.cancel();
  });

  test('wait longer than setTimeout can, and can be cancelled in between', () => {
    const dayMs = 86_400_000;
    const fire = vi.fn<() => void>();
    systemClock.setTimer(60 * dayMs, fire);
    const cancelled = vi.fn<() => void>();
    const timer = systemClock.setTimer(60 * dayMs, cancelled);
    vi.advanceTimersByTime(59 * dayMs);
    timer.cancel();
    expect(fire).not.toHaveBeenCalled();
    vi.advanceTimersByTime(dayMs);
    expect(fire).toHaveBeenCalledTimes(1);
    expect(cancelled).not.toHaveBeenCalled();
  });

  test('take a delay below zero for none', () => {
    const fire = vi.fn<() => void>();
    systemClock.setTimer(-5, fire);
    vi.advanceTimersByTime(0);
    expect(fire).toHaveBeenCalledTimes(1);
  });
});

describe('sleep', () => {
  test('ends when the time has passed', async () => {
    const clock = new ManualClock();
    const stop = new AbortController();
    const sleeping = sleep(clock, 1000, stop.signal);
    clock.advance(1000);
    await expect(sleeping).resolves.toBeUndefined();
    stop.abort();
    expect(clock.timers).toBe(0);
  });

  test('needs no signal', async () => {
    const clock = new ManualClock();
    const sleeping = sleep(clock, 5);
    clock.advance(5);
    await expect(sleeping).resolves.toBeUndefined();
  });

  test('ends with the reason of its signal, and leaves no timer behind', async () => {
    const clock = new ManualClock();
    const stop = new AbortController();
    const sleeping = sleep(clock, 1000, stop.signal);
    const reason = new Error('stopped');
    stop.abort(reason);
    await expect(sleeping).rejects.toBe(reason);
    expect(clock.timers).toBe(0);
    await expect(sleep(clock, 1000, stop.signal)).rejects.toBe(reason);
  });
});
