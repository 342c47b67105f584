import { expect, test } from 'vitest';
import { compareRbac } from '../../../support/policy/rbac-agreement.ts';

test('what policies are compiled to answers as the engine does, and never lets in more', () => {
  const tally = compareRbac(20_000);
  expect(tally.get('same')).toBeGreaterThan(10_000);
  expect(tally.get('narrower')).toBeGreaterThan(10);
});
