import { expect, test } from 'vitest';
import { Rejections } from '../../../../agent/xds/rejections.ts';

test('only what was in a rejected response counts as rejected', () => {
  const rejections = new Rejections();
  rejections.sent('n1', ['a', 'b']);
  rejections.sent('n2', ['c']);
  rejections.answered('n2', false);
  rejections.answered('n1', true);
  rejections.answered('unknown', true);
  expect(['a', 'b', 'c'].filter((version) => rejections.has(version))).toEqual(['a', 'b']);
});

test('what is kept is bounded, and the latest is kept', () => {
  const rejections = new Rejections();
  for (let index = 0; index < 1500; index += 1) {
    rejections.sent(`n${index}`, [`v${index}`]);
    rejections.answered(`n${index}`, true);
  }
  expect([rejections.has('v0'), rejections.has('v1499')]).toEqual([false, true]);
  // A client that never answers.
  for (let index = 0; index < 200; index += 1) rejections.sent(`m${index}`, [`w${index}`]);
  rejections.answered('m0', true);
  rejections.answered('m199', true);
  expect([rejections.has('w0'), rejections.has('w199')]).toEqual([false, true]);
});
