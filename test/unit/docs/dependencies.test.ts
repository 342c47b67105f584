import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../../..');

test('docs/dependencies.md has a row for each dependency of package.json', () => {
  // The cast is sound: package.json has this field.
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const guide = readFileSync(join(ROOT, 'docs/dependencies.md'), 'utf8');
  const rows = [...guide.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name = '']) => name);
  expect(rows).toEqual(Object.keys(dependencies));
});
