import type { Clock, Timer } from '../../core/clock.ts';

import type { Logger } from '../../runtime/log.ts';
import type { DecidedCall } from './decided-call.ts';
import { decisionRecord, wouldDeny } from './decision-record.ts';
import { RecordLimit } from './record-limit.ts';

/** Why a call is logged although not every call is. */
export type Occasion = 'denied' | 'wouldDeny' | 'audited' | 'failedOpen';

/** What {@link DecisionLog} is made from. */
export interface DecisionLogOptions {
  readonly log: Logger;
  readonly clock: Clock;
  /** The part of allowed calls that is logged: 0 none, 1 all. */
  readonly sample: number;
  /** Records of each occasion that are written at most, after a burst of ten seconds' worth. */
  readonly recordsPerSecond: number;
  /** Of `hashSubject`. */
  readonly hashKey: Uint8Array;
  /** Uniform numbers in [0, 1); `Math.random` unless given. */
  readonly random?: () => number;
  /** Told of each record that the limit leaves out. */
  readonly onLeftOut?: (occasion: Occasion) => void;
}

const BURST_SECONDS = 10;
const SUMMARY_MS = 10_000;
const OCCASIONS: readonly Occasion[] = ['denied', 'wouldDeny', 'audited', 'failedOpen'];

/**
 * Logs decided calls, whatever the level of the process's log is, except for `fatal`, which silences this log too: denials, calls that a DryRun policy would deny, that an AUDIT rule matches, and that `failureMode: Open` let pass always,
 * other calls by sample. Each of these occasions has a limit of its own, so that a flood of one can neither fill the disk nor hide the others; what was
 * left out is told every ten seconds. Metrics and recorded calls count all of it.
 */
export class DecisionLog implements Disposable {
  readonly #options: DecisionLogOptions;
  readonly #log: Logger;
  readonly #limits: ReadonlyMap<Occasion, RecordLimit>;
  readonly #leftOut = new Map<Occasion, number>();
  #summary: Timer | undefined;

  constructor(options: DecisionLogOptions) {
    const { clock, recordsPerSecond: perSecond } = options;
    this.#options = options;
    // How much the process says otherwise has nothing to do with it, unless it is to say nothing at all (see `#isSilent`).
    this.#log = options.log.child({ component: 'decisions' }, { level: 'info' });
    this.#limits = new Map(
      OCCASIONS.map((each) => [each, new RecordLimit(clock, { burst: perSecond * BURST_SECONDS, perSecond })]),
    );
  }

  /** Logs the call, or leaves it out. */
  readonly observe = (decided: DecidedCall): void => {
    if (this.#isSilent()) return;
    const occasion = occasionOf(decided);
    if (occasion === undefined ? this.#isSampled() : this.#isWithinLimit(occasion)) {
      this.#log.info(decisionRecord(decided, this.#options.hashKey), 'call decided');
    }
  };

  /** Tells of what was left out until now. */
  [Symbol.dispose](): void {
    this.#summary?.cancel();
    this.#summarise();
  }

  /** Whether the process's level is `fatal`, or `silent`, by now. Whoever wants that wants no line for each denial. */
  #isSilent(): boolean {
    return !this.#options.log.isLevelEnabled('error');
  }

  #isSampled(): boolean {
    const { sample, random = Math.random } = this.#options;
    return sample > 0 && random() < sample;
  }

  #isWithinLimit(occasion: Occasion): boolean {
    if (this.#limits.get(occasion)?.take() === true) return true;
    this.#leftOut.set(occasion, (this.#leftOut.get(occasion) ?? 0) + 1);
    this.#options.onLeftOut?.(occasion);
    this.#summary ??= this.#options.clock.setTimer(SUMMARY_MS, () => this.#summarise());
    return false;
  }

  #summarise(): void {
    this.#summary = undefined;
    if (this.#leftOut.size === 0) return;
    this.#log.warn({ leftOut: Object.fromEntries(this.#leftOut) }, 'decided calls left out of the log');
    this.#leftOut.clear();
  }
}

function occasionOf({ outcome: { verdict, reason, decision } }: DecidedCall): Occasion | undefined {
  if (verdict === 'deny') return 'denied';
  if (reason === 'policy_stale') return 'failedOpen';
  if (decision === undefined) return undefined;
  if (wouldDeny(decision)) return 'wouldDeny';
  return decision.audits.length > 0 ? 'audited' : undefined;
}
