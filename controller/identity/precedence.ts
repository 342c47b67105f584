import type { ObjectRef } from '../ports.ts';

/** What decides which of two objects that declare the same entry wins. */
export interface Precedence extends ObjectRef {
  readonly createdAtMs: number;
  readonly deleting: boolean;
}

/**
 * Orders objects: the oldest first, one that is being deleted after one that is not, then by UID (as SPIRE's controller manager
 * does) and, for objects without one, by kind and name.
 */
export function comparePrecedence(one: Precedence, other: Precedence): number {
  return (
    one.createdAtMs - other.createdAtMs ||
    Number(one.deleting) - Number(other.deleting) ||
    compareText(one.uid, other.uid) ||
    compareText(one.kind, other.kind) ||
    compareText(one.namespace, other.namespace) ||
    compareText(one.name, other.name)
  );
}

function compareText(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
