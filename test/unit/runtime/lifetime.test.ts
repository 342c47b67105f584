import { expect, test } from 'vitest';

import { Lifetime } from '../../../runtime/lifetime.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const made = (clock: ManualClock, random?: number): Lifetime =>
  new Lifetime({ notBeforeMs: clock.nowMs(), expiresAtMs: clock.nowMs() + 1_000_000 }, clock, random);

test('is due at half life, moved by up to a tenth of it either way', () => {
  const clock = new ManualClock();
  expect([0, 0.5, 1].map((random) => made(clock, random).dueInMs(clock))).toEqual([550_000, 500_000, 450_000]);
});

test('a step forward makes it due and ends it', () => {
  const clock = new ManualClock();
  const lifetime = made(clock);
  clock.step(600_000);
  expect([lifetime.isDue(clock), lifetime.isExpired(clock)]).toEqual([true, false]);
  clock.step(600_000);
  expect(lifetime.isExpired(clock)).toBe(true);
});

test('a step back neither delays rotation nor revives what has expired', () => {
  const clock = new ManualClock();
  const lifetime = made(clock);
  clock.step(-10_000_000);
  clock.advance(500_000);
  expect(lifetime.isDue(clock)).toBe(true);
  clock.advance(500_000);
  expect(lifetime.isExpired(clock)).toBe(true);
  expect(lifetime.expiresInMs(clock)).toBe(0);
});
