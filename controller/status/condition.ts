import type { Condition } from '../../policy/schema/condition.ts';
import type { DeclaredObject } from '../declared-objects.ts';
import type { JsonObject } from '../ports.ts';

/** Whether something holds, and why. */
export interface Verdict {
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
}

/** A condition of an object; its time is that of before unless what it says changed. `now` is RFC 3339. */
export function condition(
  object: DeclaredObject,
  type: string,
  { status, reason, message }: Verdict,
  { now }: { readonly now: () => string },
): Condition {
  const before = conditionsOf(object.status).find((each) => each['type'] === type);
  const since =
    before?.['status'] === status && typeof before['lastTransitionTime'] === 'string' ? before['lastTransitionTime'] : now();
  return { type, status, observedGeneration: object.generation, lastTransitionTime: since, reason, message };
}

/** The conditions in a status as it was read. */
export function conditionsOf(status: unknown): readonly JsonObject[] {
  if (typeof status !== 'object' || status === null || !('conditions' in status) || !Array.isArray(status.conditions)) return [];
  return status.conditions.filter((each) => typeof each === 'object' && each !== null);
}
