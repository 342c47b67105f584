import { Backoff } from '../../core/backoff.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import type { IdentityError } from '../../core/errors.ts';
import { declarationKey } from '../identity/declaration-store.ts';
import type { Precedence } from '../identity/precedence.ts';
import type { Problem } from '../ports.ts';

/** What {@link Failures} needs. */
export interface FailuresOptions {
  readonly clock: Clock;
  /** The reasons of {@link Problem}s: for what is in the way, and for all else. */
  readonly reasons: { readonly exists: string; readonly refused: string };
  /** Called when an entry is to be tried again. */
  readonly onDue: (key: string) => void;
  /** Called when the failures of a declaring object changed. */
  readonly onChanged: (declarer: Precedence) => void;
}

interface Failure {
  readonly backoff: Backoff;
  timer: Timer;
  problem: Problem | undefined;
  declarer: Precedence | undefined;
}

const BACKOFF = { initialMs: 1_000, maxMs: 300_000 };

/** The entries that the CA refused: when each is tried again, and whose they are. */
export class Failures {
  readonly #options: FailuresOptions;
  readonly #byKey = new Map<string, Failure>();
  readonly #byDeclarer = new Map<string, Map<string, Problem>>();

  constructor(options: FailuresOptions) {
    this.#options = options;
  }

  keys(): Iterable<string> {
    return [...this.#byKey.keys()];
  }

  /** The failures of a declaring object. */
  of(declarerKey: string): readonly Problem[] {
    return [...(this.#byDeclarer.get(declarerKey)?.values() ?? [])];
  }

  /**
   * Notes a failure; the entry is tried again after a time that grows with each one.
   *
   * @returns the problem as the owner is told it
   */
  add(key: string, error: IdentityError, owner?: { readonly declarer: Precedence; readonly pod: string }): Problem | undefined {
    const before = this.#byKey.get(key);
    before?.timer.cancel();
    const backoff = before?.backoff ?? new Backoff(BACKOFF);
    // Half of the ceiling at least, so that an entry that cannot be right is not tried all the time.
    const delayMs = Math.max(backoff.nextMs(), BACKOFF.initialMs / 2, error.retryAfterMs ?? 0);
    const timer = this.#options.clock.setTimer(delayMs, () => this.#options.onDue(key));
    const { exists, refused } = this.#options.reasons;
    const reason = error.code === 'already_exists' ? exists : refused;
    const problem: Problem | undefined = owner && {
      reason,
      message: error.message,
      ...(owner.pod === '' ? {} : { pod: owner.pod }),
    };
    if (before !== undefined && before.declarer !== owner?.declarer) this.#disown(key, before);
    this.#byKey.set(key, { backoff, timer, problem, declarer: owner?.declarer });
    if (owner !== undefined && problem !== undefined && before?.problem?.message !== problem.message) {
      this.#own(key, owner.declarer, problem);
    }
    return problem;
  }

  /** Forgets a failure: the entry is as it ought to be, or no longer ought to be. */
  clear(key: string): void {
    const failure = this.#byKey.get(key);
    if (failure === undefined) return;
    failure.timer.cancel();
    this.#byKey.delete(key);
    this.#disown(key, failure);
  }

  clearAll(): void {
    for (const key of this.keys()) this.clear(key);
  }

  #own(key: string, declarer: Precedence, problem: Problem): void {
    const declarerKey = declarationKey(declarer);
    const problems = this.#byDeclarer.get(declarerKey) ?? new Map<string, Problem>();
    this.#byDeclarer.set(declarerKey, problems.set(key, problem));
    this.#options.onChanged(declarer);
  }

  #disown(key: string, { declarer }: Failure): void {
    if (declarer === undefined) return;
    const declarerKey = declarationKey(declarer);
    const problems = this.#byDeclarer.get(declarerKey);
    problems?.delete(key);
    if (problems?.size === 0) this.#byDeclarer.delete(declarerKey);
    this.#options.onChanged(declarer);
  }
}
