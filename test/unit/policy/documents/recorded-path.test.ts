import { expect, test } from 'vitest';
import { holdsForAllOrNone } from '../../../../policy/documents/recorded-path.ts';

test.each([
  ['/admin/', '/x/{id}/min', true],
  ['/5/admin/', '/x/{id}/admin', false],
  ['/5/admin', '/x/{id}/admin', false],
  ['/admin/', '/x/{id}/admin', true],
  ['.css/', '/x/{id}', false],
])('whether %s ends all or none of the paths that %s stands for: %s', (suffix, path, expected) => {
  const clause = { exact: undefined, prefix: undefined, suffix, template: undefined, regex: undefined };
  expect(holdsForAllOrNone(clause, path)).toBe(expected);
});
