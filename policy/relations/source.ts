import type { Snapshot } from '../compile/snapshot.ts';
import { relationKey } from '../compile/relations.ts';
import { decide } from '../decide.ts';
import type { Call, Decision, RelationQuery } from '../model.ts';

/** A store of relations, such as OpenFGA. Its adapter does the I/O and keeps the deadline. */
export interface RelationSource {
  /** One answer for each query, in their order; rejects when the store cannot be asked. */
  check(queries: readonly RelationQuery[]): Promise<readonly boolean[]>;
}

/**
 * Decides a call whose policies may ask for relations: first without answers; where one could change the decision, again with them.
 * Where the store cannot be asked, what `decide` said without answers stands (an ALLOW rule with relations then does not match, a DENY
 * rule does), and `pending` says what is missing.
 *
 * @example
 * const decision = await decideAsync(snapshot, call, openFga);
 */
export async function decideAsync(snapshot: Snapshot, call: Call, source: RelationSource): Promise<Decision> {
  const first = decide(snapshot, call);
  if (first.pending === undefined) return first;
  const answers = await answersTo(first.pending, source);
  return answers === undefined
    ? first
    : decide(snapshot, { ...call, relations: new Map([...(call.relations ?? []), ...answers]) });
}

async function answersTo(
  pending: readonly RelationQuery[],
  source: RelationSource,
): Promise<ReadonlyMap<string, boolean> | undefined> {
  try {
    const answers = await source.check(pending);
    return new Map(
      pending.flatMap((query, index) => (answers[index] === undefined ? [] : [[relationKey(query), answers[index]]])),
    );
  } catch {
    // The adapter has logged why; a decision is due all the same.
    return undefined;
  }
}
