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

/** The YAML of a file; of a guide, its blocks of YAML and what its commands are given. */
function yamlIn(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  if (!file.endsWith('.md')) return [text];
  const blocks = text.matchAll(/^( *)```ya?ml\n([^]*?)^ *```$/gm);
  const documents = text.matchAll(/<<'?YAML'?\n([^]*?)\n *YAML$/gm);
  return [...Array.from(blocks, dedented), ...Array.from(documents, ([, body = '']) => body)];
}

/** A block may be indented, as in a list. */
const dedented = ([, indent = '', body = '']: readonly string[]): string => body.replaceAll(`\n${indent}`, '\n').trim();

interface Written {
  readonly file: string;
  readonly kind: string;
  readonly object: unknown;
}

function objectsIn(file: string): Written[] {
  return yamlIn(file).flatMap((yaml) =>
    parseAllDocuments(yaml).flatMap((document) => {
      // The cast is sound: what is YAML of Kubernetes has these fields, and the test fails where they are something else.
      const object = document.toJS() as { apiVersion?: string; kind?: string } | null;
      const group = object?.apiVersion?.split('/')[0] ?? '';
      return GROUPS.has(group) ? [{ file, kind: object?.kind ?? '', object }] : [];
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
