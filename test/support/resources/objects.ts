import { isDeepStrictEqual } from 'node:util';
import { DecodeError } from '../../../core/decode.ts';
import type { Fault } from '../../../core/decode.ts';
import { RESOURCE_KINDS } from '../../../crds/index.ts';
import { parseAuthorizationPolicy } from '../../../policy/resources/authorization-policy.ts';
import { AUTHORIZATION_POLICY } from '../../../policy/resources/authorization-policy.ts';
import {
  CLUSTER_AUTHORIZATION_POLICY,
  parseClusterAuthorizationPolicy,
} from '../../../policy/resources/cluster-authorization-policy.ts';
import { parseRequestAuthentication, REQUEST_AUTHENTICATION } from '../../../policy/resources/request-authentication.ts';
import type { ResourceMeta } from '../../../policy/schema/resource-meta.ts';
import type { Parser, ResourceType } from '../../../policy/schema/resource.ts';

/** A kind of which objects can be read. */
export interface ReadableKind {
  readonly type: ResourceType;
  readonly parse: Parser<{ readonly meta: ResourceMeta }>;
}

const KINDS: readonly ReadableKind[] = [
  ...RESOURCE_KINDS,
  { type: AUTHORIZATION_POLICY.type, parse: parseAuthorizationPolicy },
  { type: CLUSTER_AUTHORIZATION_POLICY.type, parse: parseClusterAuthorizationPolicy },
  { type: REQUEST_AUTHENTICATION.type, parse: parseRequestAuthentication },
];

/** The kind of that name. */
export function kindNamed(name: string): ReadableKind {
  const kind = KINDS.find(({ type }) => type.kind === name);
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
