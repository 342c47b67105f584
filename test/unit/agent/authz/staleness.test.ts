// From when on policy is too old, by both clocks.
import { expect, test } from 'vitest';
import { Staleness } from '../../../../agent/authz/staleness.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const MINUTE_MS = 60_000;

function start() {
  const clock = new ManualClock();
  const staleness = new Staleness({ clock, maxStalenessMs: MINUTE_MS });
  const told: boolean[] = [];
  staleness.subscribe((isStale) => told.push(isStale));
  return { clock, staleness, told };
}

test('policy ages from the moment on that the CA is lost, and is told once it is too old', () => {
  const { clock, staleness, told } = start();
  staleness.followed();
  clock.advance(10 * MINUTE_MS);
  expect([staleness.ageMs, staleness.value]).toEqual([0, false]);
  staleness.lost();
  clock.advance(MINUTE_MS);
  // Lost again is no reason to begin anew.
  staleness.lost();
  expect([staleness.ageMs, staleness.value]).toEqual([MINUTE_MS, false]);
  clock.advance(1);
  expect(staleness.value).toBe(true);
  expect(told).toEqual([true]);
  staleness.followed();
  expect([staleness.ageMs, staleness.value, clock.timers]).toEqual([0, false, 0]);
  expect(told).toEqual([true, false]);
});

test('a CA that comes back in time leaves nothing behind', () => {
  const { clock, staleness, told } = start();
  staleness.followed();
  staleness.lost();
  clock.advance(MINUTE_MS / 2);
  staleness.followed();
  clock.advance(10 * MINUTE_MS);
  expect(told).toEqual([]);
});

test('a step of the wall clock forward ages policy; a step back does not make it younger', () => {
  const { clock, staleness } = start();
  staleness.followed();
  staleness.lost();
  clock.step(2 * MINUTE_MS);
  expect(staleness.value).toBe(true);
  clock.step(-4 * MINUTE_MS);
  expect(staleness.value).toBe(false);
  clock.advance(MINUTE_MS + 1);
  expect(staleness.value).toBe(true);
});

test('what was stopped wakes nothing', () => {
  const { clock, staleness } = start();
  staleness.followed();
  staleness.lost();
  staleness[Symbol.dispose]();
  expect(clock.timers).toBe(0);
});
