import { expect, test } from 'vitest';
import { KeptParts } from '../../../../controller/identity/kept-parts.ts';
import { EVERYTHING, NO_NEEDS, needsOf, type Needs } from '../../../../controller/identity/trim.ts';

const NAMES = needsOf([['PodMeta', 'Name']]);
const LABELS = needsOf([
  ['PodMeta', 'Name'],
  ['PodMeta', 'Labels'],
]);

function rig(first: Needs) {
  const now = { needs: first };
  return { now, kept: new KeptParts(() => now.needs) };
}

test('what is declared before anything is read costs no second reading', () => {
  const { now, kept } = rig(NO_NEEDS);
  now.needs = LABELS;
  kept.take('pod');
  kept.take('node');
  expect(kept.takeLacking()).toEqual([]);
});

test('what needs more than was kept is told once', () => {
  const { now, kept } = rig(NAMES);
  kept.take('pod');
  now.needs = LABELS;
  expect(kept.takeLacking()).toEqual(['pod']);
  expect(kept.takeLacking()).toEqual([]);
  now.needs = { ...LABELS, node: EVERYTHING };
  expect(kept.takeLacking()).toEqual([]);
});

test('an object that was read while less was needed has to be read again when more is', () => {
  const { now, kept } = rig(LABELS);
  kept.take('pod');
  now.needs = NAMES;
  expect(kept.takeLacking()).toEqual([]);
  now.needs = LABELS;
  expect(kept.takeLacking()).toEqual([]);
  now.needs = NAMES;
  kept.take('pod');
  now.needs = LABELS;
  expect(kept.takeLacking()).toEqual(['pod']);
});
