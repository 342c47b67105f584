import { isDeepStrictEqual } from 'node:util';
import { DecodeError } from '../../../core/decode.ts';
import type { Fault } from '../../../core/decode.ts';
import { RESOURCE_KINDS } from '../../../crds/index.ts';
import type { ResourceKind } from '../../../crds/index.ts';

/** The kind of that name. */
export function kindNamed(name: string): ResourceKind {
  const kind = RESOURCE_KINDS.find(({ type }) => type.kind === name);
  if (kind === undefined) throw new Error(`there is no kind ${name}`);
  return kind;
}

/** An object of a kind, as a user would write it; in namespace `shop` where it is in one. */
export function objectOf(kind: string, spec: unknown, name = 'example'): Record<string, unknown> {
  const { type } = kindNamed(kind);
  return {
    apiVersion: `${type.group}/${type.version}`,
    kind,
    metadata: { name, ...(type.namespaced ? { namespace: 'shop' } : {}) },
    spec,
  };
}

/** Where the API server has the objects of a kind. */
export function collectionPath(kind: string): string {
  const { group, version, plural, namespaced } = kindNamed(kind).type;
  return `/apis/${group}/${version}/${namespaced ? 'namespaces/shop/' : ''}${plural}`;
}

/** What the parser of its kind finds wrong with an object. */
export function faultsOf(kind: string, object: unknown): readonly Fault[] {
  try {
    kindNamed(kind).parse(object);
    return [];
  } catch (error) {
    if (error instanceof DecodeError) return error.faults;
    throw error;
  }
}

/** Whether two objects of a kind declare the same. Their metadata is not compared. */
export function declareTheSame(kind: string, one: unknown, other: unknown): boolean {
  const { parse } = kindNamed(kind);
  return isDeepStrictEqual({ ...parse(one), meta: undefined }, { ...parse(other), meta: undefined });
}
