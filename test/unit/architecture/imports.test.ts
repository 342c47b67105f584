import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

import { describe, expect, it } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../../..');

/** Which folder may import which; the table of the design. A folder may always import itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  spiffe: ['core'],
  policy: ['core', 'spiffe'],
  proto: [],
  crds: ['core', 'spiffe', 'policy'],
  runtime: ['core', 'spiffe', 'policy', 'proto'],
  ca: ['core', 'spiffe', 'policy', 'proto', 'runtime'],
  agent: ['core', 'spiffe', 'policy', 'proto', 'runtime'],
  controller: ['core', 'spiffe', 'policy', 'proto', 'runtime', 'crds'],
  client: ['core', 'spiffe', 'policy', 'proto'],
  cli: ['core', 'spiffe', 'policy', 'proto', 'crds', 'runtime', 'ca', 'agent', 'controller', 'client'],
};

/** Library imports that only one place may have, because loading them costs or they need something loaded first. */
const ONLY_IN: Readonly<Record<string, RegExp>> = {
  'reflect-metadata': /^(ca\/authorities|test)\//,
  '@peculiar/x509': /^(ca\/authorities|test)\//,
  koffi: /^runtime\//,
  '@marcbachmann/cel-js': /^policy\/expressions\//,
  re2js: /^policy\/expressions\//,
  pg: /^(ca\/store|test)\//,
};

interface Import {
  readonly file: string;
  readonly target: string;
}

function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}

function importsOf(file: string): Import[] {
  // Examples in comments are no imports.
  const text = readFileSync(join(ROOT, file), 'utf8').replaceAll(/^\s*(?:\/?\*|\/\/).*$/gm, '');
  const found = text.matchAll(/(?:^|\n)\s*(?:import|export)\b[^'"`;]*?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g);
  return [...found].map(([, statement, call]) => ({ file, target: statement ?? call ?? '' }));
}

const files = Object.keys(MAY_IMPORT).flatMap(sources);
const imports = files.flatMap(importsOf);
const internal = imports
  .filter(({ target }) => target.startsWith('.'))
  .map(({ file, target }) => ({ file, target: relative(ROOT, resolve(ROOT, dirname(file), target)) }));

describe('the import table of the design', () => {
  it('finds sources and imports to judge', () => {
    expect(files.length).toBeGreaterThan(20);
    expect(internal.length).toBeGreaterThan(20);
  });

  it('is kept by every file', () => {
    const broken = internal.filter(({ file, target }) => {
      const [from = '', to = ''] = [file.split('/')[0], target.split('/')[0]];
      return from !== to && !(MAY_IMPORT[from] ?? []).includes(to);
    });
    expect(broken).toEqual([]);
  });

  it('keeps each heavy library in its one place', () => {
    const broken = imports.filter(({ file, target }) => {
      const place = ONLY_IN[target];
      return place !== undefined && !place.test(file);
    });
    expect(broken).toEqual([]);
  });

  it('has no cycle', () => {
    expect(findCycle(internal)).toEqual([]);
  });

  it('keeps core at six files', () => {
    expect(sources('core').length).toBeLessThanOrEqual(6);
  });

  it('lets only core/clock.ts read the time', () => {
    const readers = files.filter(
      (file) =>
        file !== 'core/clock.ts' &&
        !file.startsWith('cli/') &&
        !file.includes('/gen/') &&
        /\bDate\.now\(|new Date\(\)/.test(read(file)),
    );
    expect(readers).toEqual([]);
  });
});

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

/** The first cycle found by depth-first search, as the files along it; empty when there is none. */
function findCycle(edges: readonly Import[]): string[] {
  const next = Map.groupBy(edges, ({ file }) => file);
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return [];
    for (const { target } of next.get(file) ?? []) {
      const cycle = visit(target, [...path, file]);
      if (cycle.length > 0) return cycle;
    }
    done.add(file);
    return [];
  };
  for (const file of next.keys()) {
    const cycle = visit(file, []);
    if (cycle.length > 0) return cycle;
  }
  return [];
}
