import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { staleFiles } from '../../scripts/generate.ts';

const buf = join(import.meta.dirname, '../../node_modules/.bin/buf');

describe.skipIf(!existsSync(buf))('proto/gen (needs buf from the dev dependencies)', () => {
  test('is what `npm run generate` writes', () => {
    expect(staleFiles()).toEqual([]);
  });
});
