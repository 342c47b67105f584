// Whatever the guides and the manifests show of our resources must be admitted.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { RESOURCE_KINDS } from '../../../crds/index.ts';
import { faultsOf } from '../../support/resources/objects.ts';

const ROOT = join(import.meta.dirname, '../../..');
const GROUPS = new Set(RESOURCE_KINDS.map(({ type }) => type.group));

/** Files below a folder with that ending, by their paths in the tree. */
function filesIn(folder: string, ending: string): string[] {
  if (!existsSync(join(ROOT, folder))) return [];
  const names = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  return names.filter((name) => name.endsWith(ending)).map((name) => join(folder, name));
}

function yamlIn(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  // A block may be indented, as in a list.
  const blocks = text.matchAll(/^( *)```ya?ml\n([^]*?)^ *```$/gm);
  return file.endsWith('.md')
    ? [...blocks].map(([, indent = '', body = '']) => body.replaceAll(`\n${indent}`, '\n').trim())
    : [text];
}

interface Written {
  readonly file: string;
  readonly kind: string;
  readonly object: unknown;
}

function objectsIn(file: string): Written[] {
  return yamlIn(file).flatMap((yaml) =>
    parseAllDocuments(yaml).flatMap((document) => {
      // The cast is sound: whatever is no object has neither of the fields.
      const object = document.toJS() as { apiVersion?: unknown; kind?: unknown } | null;
      const group = String(object?.apiVersion ?? '').split('/')[0] ?? '';
      return GROUPS.has(group) && object !== null ? [{ file, kind: String(object.kind), object }] : [];
    }),
  );
}

const guides = [...filesIn('docs', '.md'), 'README.md'];
const written = [...guides, ...filesIn('manifests', '.yaml')].flatMap(objectsIn);

test.each(written)('$file: a $kind is read', ({ kind, object }) => {
  expect(faultsOf(kind, object)).toEqual([]);
});

test('there is something to read', () => {
  expect(written.length).toBeGreaterThan(3);
});
