import { expect, test } from 'vitest';
import { runTogether, type Work } from '../../../controller/run-together.ts';

/** Goes on until it is told to end, and takes a moment to do so. */
function slow(ended: string[]): Work {
  return async (signal) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    await new Promise(setImmediate);
    ended.push('slow');
  };
}

test('one part that fails ends the others, which are waited for', async () => {
  const ended: string[] = [];
  const cause = new Error('broken');
  const failing: Work = () => Promise.reject(cause);
  await expect(runTogether([slow(ended), failing, slow(ended)], new AbortController().signal)).rejects.toBe(cause);
  expect(ended).toEqual(['slow', 'slow']);
});

test('the first failure is the one that is told', async () => {
  const first = new Error('first');
  const late: Work = async (signal) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    throw new Error('second');
  };
  await expect(runTogether([late, () => Promise.reject(first)], new AbortController().signal)).rejects.toBe(first);
});

test('ends when all parts have ended, also when told to', async () => {
  const ended: string[] = [];
  const stop = new AbortController();
  const running = runTogether([slow(ended), () => Promise.resolve()], stop.signal);
  expect(ended).toEqual([]);
  stop.abort();
  await running;
  expect(ended).toEqual(['slow']);
});
