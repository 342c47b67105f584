import { expect, test } from 'vitest';
import { staleResourceFiles } from '../../../scripts/generate-crds.ts';

test('crds/*.yaml and docs/resources.md are what `npm run generate` writes', () => {
  expect(staleResourceFiles()).toEqual([]);
});
