import { expect, test } from 'vitest';
import { Turns } from '../../../controller/turns.ts';
import { ManualClock } from '../../support/manual-clock.ts';

test('a turn is over after ten milliseconds', async () => {
  const clock = new ManualClock();
  const isOver = await new Turns(clock).next();
  expect(isOver()).toBe(false);
  clock.advance(9);
  expect(isOver()).toBe(false);
  clock.advance(1);
  expect(isOver()).toBe(true);
});

test('however many wait for a turn, everything else comes after one of them, and they come in order', async () => {
  const turns = new Turns(new ManualClock());
  const seen: string[] = [];
  let around = 0;
  const stop = new AbortController();
  const beat = (): void => {
    around += 1;
    if (!stop.signal.aborted) setImmediate(beat);
  };
  setImmediate(beat);
  const work = async (name: string): Promise<void> => {
    for (let time = 0; time < 2; time += 1) {
      await turns.next();
      seen.push(`${name} ${around}`);
    }
  };
  await Promise.all(['a', 'b', 'c'].map(work));
  stop.abort();
  expect(seen.map((each) => each.slice(0, 1)).join('')).toBe('abcabc');
  expect(new Set(seen.map((each) => each.slice(2))).size).toBe(6);
});
