import type { Snapshot } from '../compile/snapshot.ts';
import { simulate } from '../simulate.ts';
import type { Change, RecordedCall } from '../simulate.ts';
import { policiesAbout, withUncertainPaths } from './recorded-path.ts';

/** What would become of recorded calls. */
export interface Consequences {
  /** Were allowed, and would be denied. */
  readonly denied: readonly Change[];
  /** Were denied, and would be allowed. */
  readonly allowed: readonly Change[];
  /** Depend on what was not recorded. */
  readonly unknown: readonly Change[];
  /** Whether nobody would be cut off: nothing that was allowed would be denied, or may be. */
  readonly isHarmless: boolean;
}

/** What to compare. */
export interface ConsequencesOptions {
  readonly before: Snapshot;
  readonly after: Snapshot;
  readonly calls: Iterable<RecordedCall>;
  /** Counts policies of mode DryRun as enforced on the side of `after`. */
  readonly countsDryRun?: boolean;
}

/**
 * Compares two snapshots over recorded calls, without the calls to destinations about which both have the same policies.
 *
 * @example
 * consequencesOf({ before, after: before.with({ set: [policy] }), calls }).isHarmless;
 */
export function consequencesOf({ before, after, calls, countsDryRun = false }: ConsequencesOptions): Consequences {
  const concerned = [...calls].filter(({ call }) => {
    const [was, is] = [policiesAbout(before, call.destination), policiesAbout(after, call.destination)];
    return countsDryRun || was.length !== is.length || was.some((policy) => !is.includes(policy));
  });
  const changes = simulate({ before, after, calls: withUncertainPaths(concerned, [before, after]), countsDryRun });
  const of = (verdict: string): readonly Change[] => changes.filter((change) => change.after.verdict === verdict);
  const [denied, unknown] = [of('deny'), of('unknown')];
  const isHarmless = denied.length === 0 && unknown.every((change) => change.before.verdict === 'deny');
  return { denied, allowed: of('allow'), unknown, isHarmless };
}
