import type { Snapshot } from './compile/snapshot.ts';
import { judge, mayTurnToDenial } from './judgement.ts';
import type { JudgedCall, Judgement, Simulated, Verdict } from './judgement.ts';
import type { Call, RuleReference } from './model.ts';

export type { Simulated, Verdict } from './judgement.ts';

/** A call that was seen, with what the recording lacks in `call.unrecorded`. */
export interface RecordedCall extends JudgedCall {
  readonly call: Call;
  readonly count: number;
  readonly lastSeenAtMs: number;
  /** What was decided last; stands in for a verdict of before that is unknown. */
  readonly observed?: 'allow' | 'deny';
  /** Some of these calls were allowed and others denied: so by what is not recorded, or by other policies. */
  readonly isMixed?: boolean;
  /** The rules that decided them, where that was recorded. */
  readonly decidedBy?: readonly RuleReference[];
}

/** A recorded call whose verdict is another one afterwards. */
export interface Change {
  readonly recorded: RecordedCall;
  readonly before: Simulated;
  readonly after: Simulated;
}

/** What to compare. */
export interface SimulateOptions {
  readonly before: Snapshot;
  readonly after: Snapshot;
  readonly calls: Iterable<RecordedCall>;
  /** Counts policies of mode DryRun as enforced on the side of `after`: what would happen if they were? */
  readonly countsDryRun?: boolean;
}

/**
 * The recorded calls that are decided otherwise by `after`, those that were seen most often first. A verdict that depends on what was not
 * recorded is `unknown`; who must not cut anybody off takes it for a denial.
 *
 * @example
 * simulate({ before: snapshot, after: snapshot.with({ set: [policy] }), calls });
 */
export function simulate({ before, after, calls, countsDryRun = false }: SimulateOptions): readonly Change[] {
  const changes: Change[] = [];
  for (const recorded of calls) {
    const change = changeOf(recorded, { before, after, countsDryRun });
    if (change !== undefined) changes.push(change);
  }
  return changes.sort((one, other) => other.recorded.count - one.recorded.count);
}

/**
 * What becomes of one call; undefined: it is decided as before. Where a verdict is unknown before and after, for the same reasons, the change decides
 * nothing: only what it may turn is told.
 */
export function changeOf(
  recorded: RecordedCall,
  { before, after, countsDryRun = false }: Omit<SimulateOptions, 'calls'>,
): Change | undefined {
  const was = judge(before, recorded);
  const is = judge(after, recorded, countsDryRun);
  const isUncertain = is.simulated.verdict === 'unknown';
  if (!isUncertain && is.simulated.verdict === was.simulated.verdict) return undefined;
  const cutsOff = mayTurnToDenial(was, is);
  const verdict = verdictBefore(was, recorded, cutsOff);
  const isTold = isUncertain
    ? (verdict !== 'deny' && cutsOff) || (verdict !== 'allow' && mayTurnToDenial(is, was))
    : verdict !== is.simulated.verdict;
  return isTold ? { recorded, before: { ...was.simulated, verdict }, after: is.simulated } : undefined;
}

/** What was decided then stands in for what is not known; where that says nothing, nobody may have been let in whom the change cuts off. */
function verdictBefore({ simulated }: Judgement, { observed, isMixed = false }: RecordedCall, cutsOff: boolean): Verdict {
  if (simulated.verdict !== 'unknown') return simulated.verdict;
  if (observed !== undefined) return isMixed ? 'allow' : observed;
  return cutsOff ? 'unknown' : 'deny';
}

/** What a snapshot says of a recorded call, or else what was decided then. */
export function verdictThen(snapshot: Snapshot, recorded: RecordedCall): Simulated {
  const judgement = judge(snapshot, recorded);
  return { ...judgement.simulated, verdict: verdictBefore(judgement, recorded, true) };
}

/** The verdict of a recorded call; of a call that lacks nothing, it is that of `decide`. */
export function verdictOf(snapshot: Snapshot, call: Call, countsDryRun = false): Simulated {
  return judge(snapshot, { call }, countsDryRun).simulated;
}
