import type { CompiledRule } from './compile/policy.ts';
import type { RuleIndex } from './compile/rule-index.ts';
import type { Snapshot } from './compile/snapshot.ts';
import { NO, UNKNOWN, YES } from './compile/tri.ts';
import type { Tri } from './compile/tri.ts';
import type { World } from './compile/view.ts';
import type { Call, DefaultAction, PolicyName, ReasonCode } from './model.ts';

/** A call that was seen, with what the recording lacks in `call.unrecorded`. */
export interface RecordedCall {
  readonly call: Call;
  readonly count: number;
  readonly lastSeenAtMs: number;
  /** What was decided then; stands in for a verdict of before that is unknown. */
  readonly observed?: 'allow' | 'deny';
}

/** A verdict, or that it depends on what was not recorded. */
export type Verdict = 'allow' | 'deny' | 'unknown';

/** A verdict with what it rests on. */
export interface Simulated {
  readonly verdict: Verdict;
  readonly reason: ReasonCode | 'not_recorded';
  /** The rule that decides, or the first that cannot be judged. */
  readonly policy?: PolicyName;
  readonly rule?: number;
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

/** What becomes of one call; undefined: it is decided as before. */
export function changeOf(
  recorded: RecordedCall,
  { before, after, countsDryRun = false }: Omit<SimulateOptions, 'calls'>,
): Change | undefined {
  const was = verdictBefore(before, recorded);
  const is = verdictOf(after, recorded.call, countsDryRun);
  return was.verdict === is.verdict ? undefined : { recorded, before: was, after: is };
}

function verdictBefore(snapshot: Snapshot, { call, observed }: RecordedCall): Simulated {
  const simulated = verdictOf(snapshot, call);
  return simulated.verdict === 'unknown' && observed !== undefined ? { ...simulated, verdict: observed } : simulated;
}

/** The verdict of a recorded call; of a call that lacks nothing, it is that of `decide`. */
export function verdictOf(snapshot: Snapshot, call: Call, countsDryRun = false): Simulated {
  const view = snapshot.viewFor(call.destination);
  return verdictIn((countsDryRun ? view.dryRun : undefined) ?? view.enforced, call, snapshot.defaultAction);
}

function verdictIn(world: World, call: Call, defaultAction: DefaultAction): Simulated {
  const ofDefault = defaultAction === 'deny' ? 'deny' : 'allow';
  if (call.refused !== undefined) return { verdict: world.hasAny ? 'deny' : ofDefault, reason: call.refused };
  const denying = strongest(world.deny, call);
  if (denying.outcome === YES) return decided('deny', 'denied_by_rule', denying.rule);
  const allowing = world.hasAllow ? strongest(world.allow, call) : undefined;
  const otherwise = withoutDeny(allowing, ofDefault, `default_${defaultAction}`);
  // A denial that is not certain changes nothing where it would be denied anyway.
  if (denying.outcome === NO || otherwise.verdict === 'deny') return otherwise;
  return decided('unknown', 'not_recorded', denying.rule);
}

function withoutDeny(allowing: Strongest | undefined, ofDefault: Verdict, reason: ReasonCode): Simulated {
  if (allowing === undefined) return { verdict: ofDefault, reason };
  if (allowing.outcome === YES) return decided('allow', 'allowed_by_rule', allowing.rule);
  if (allowing.outcome === UNKNOWN) return decided('unknown', 'not_recorded', allowing.rule);
  return { verdict: 'deny', reason: 'no_rule_matches' };
}

interface Strongest {
  readonly outcome: Tri;
  readonly rule: CompiledRule | undefined;
}

/** The first rule that matches, else the first of which it is unknown. */
function strongest(index: RuleIndex, call: Call): Strongest {
  let unknown: CompiledRule | undefined;
  for (const rule of index.candidates(call)) {
    const outcome = rule.test(call);
    if (outcome === YES) return { outcome, rule };
    if (outcome === UNKNOWN) unknown ??= rule;
  }
  return { outcome: unknown === undefined ? NO : UNKNOWN, rule: unknown };
}

function decided(verdict: Verdict, reason: Simulated['reason'], rule: CompiledRule | undefined): Simulated {
  return { verdict, reason, ...(rule === undefined ? {} : { policy: rule.policy.name, rule: rule.index }) };
}
