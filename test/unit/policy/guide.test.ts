import { expect, test } from 'vitest';
import { isAuthorizationGuideCurrent } from '../../../scripts/authorization-examples.ts';

test('the examples of docs/authorization.md are what `npm run generate` writes', () => {
  expect(isAuthorizationGuideCurrent()).toBe(true);
});
