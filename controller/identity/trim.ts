import type { JsonObject, Trim, TrimmedObject } from '../ports.ts';

/** The parts of pods and nodes that the live templates may read. */
export interface Needs {
  readonly pod: Trim;
  readonly node: Trim;
}

const NOTHING: Trim = { metadata: new Set(), spec: new Set() };
/** No template reads anything. */
export const NO_NEEDS: Needs = { pod: NOTHING, node: NOTHING };
export const EVERYTHING: Trim = { metadata: 'all', spec: 'all' };

// Go's names and JSON's differ by case alone, but for these (k8s.io/api/core/v1/types.go).
const JSON_NAMES: Readonly<Record<string, string>> = {
  deprecatedserviceaccount: 'serviceaccount',
  donotuseexternalid: 'externalid',
};

const ROOTS: Readonly<Record<string, { readonly of: keyof Needs; readonly part: keyof Trim }>> = {
  PodMeta: { of: 'pod', part: 'metadata' },
  PodSpec: { of: 'pod', part: 'spec' },
  NodeMeta: { of: 'node', part: 'metadata' },
  NodeSpec: { of: 'node', part: 'spec' },
};

/** What templates with these references need: field paths from the root, such as `['PodSpec', 'ServiceAccountName']`. */
export function needsOf(references: Iterable<readonly string[]>): Needs {
  let needs = NO_NEEDS;
  for (const [root, field] of references) {
    if (root === undefined) return { pod: EVERYTHING, node: EVERYTHING };
    const place = ROOTS[root];
    if (place === undefined) continue;
    const { of, part } = place;
    const kept = field === undefined ? 'all' : new Set([jsonName(field)]);
    needs = { ...needs, [of]: { ...needs[of], [part]: unionOf(needs[of][part], kept) } };
  }
  return needs;
}

function jsonName(field: string): string {
  const lower = field.toLowerCase();
  return JSON_NAMES[lower] ?? lower;
}

function unionOf(one: ReadonlySet<string> | 'all', other: ReadonlySet<string> | 'all'): ReadonlySet<string> | 'all' {
  return one === 'all' || other === 'all' ? 'all' : one.union(other);
}

/** What both need. */
export function unionTrim(one: Trim, other: Trim): Trim {
  return { metadata: unionOf(one.metadata, other.metadata), spec: unionOf(one.spec, other.spec) };
}

/** What both need; the first one itself where it has all that the other needs. */
export function unionNeeds(one: Needs, other: Needs): Needs {
  if (covers(one.pod, other.pod) && covers(one.node, other.node)) return one;
  return { pod: unionTrim(one.pod, other.pod), node: unionTrim(one.node, other.node) };
}

/** What both keep. */
export function intersectTrim(one: Trim, other: Trim): Trim {
  return { metadata: intersectionOf(one.metadata, other.metadata), spec: intersectionOf(one.spec, other.spec) };
}

function intersectionOf(one: ReadonlySet<string> | 'all', other: ReadonlySet<string> | 'all'): ReadonlySet<string> | 'all' {
  if (one === 'all') return other;
  return other === 'all' ? one : one.intersection(other);
}

/** Whether something trimmed to `kept` has all that `needed` asks for. */
export function covers(kept: Trim, needed: Trim): boolean {
  return kept === needed || (partCovers(kept.metadata, needed.metadata) && partCovers(kept.spec, needed.spec));
}

function partCovers(kept: ReadonlySet<string> | 'all', needed: ReadonlySet<string> | 'all'): boolean {
  return kept === 'all' || (needed !== 'all' && needed.isSubsetOf(kept));
}

/** The part of an object that is kept. */
export function trimObject(object: { readonly metadata?: unknown; readonly spec?: unknown }, trim: Trim): TrimmedObject {
  return { metadata: trimPart(object.metadata, trim.metadata), spec: trimPart(object.spec, trim.spec), trim };
}

const EMPTY: JsonObject = {};

function trimPart(part: unknown, kept: ReadonlySet<string> | 'all'): JsonObject {
  if (typeof part !== 'object' || part === null) return EMPTY;
  if (kept === 'all') return { ...part };
  if (kept.size === 0) return EMPTY;
  return Object.fromEntries(Object.entries(part).filter(([key]) => kept.has(key.toLowerCase())));
}
