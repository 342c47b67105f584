import type { Clock, Timer } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';

/** What {@link Staleness} is made from. */
export interface StalenessOptions {
  readonly clock: Clock;
  /** For how long policy is relied upon while no CA says that it is current. */
  readonly maxStalenessMs: number;
}

interface Moment {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

/**
 * Whether the policy in force is too old to be relied upon. While a CA that delivers policy is followed, what there is is
 * current, however long ago it came; from the moment on that it is lost, policy ages. Judged by both clocks: a step of the wall
 * clock forward ages policy, a step back does not make it younger.
 */
export class Staleness implements Source<boolean>, Disposable {
  readonly #options: StalenessOptions;
  readonly #listeners = new Set<(isStale: boolean) => void>();
  #lostAt: Moment | undefined;
  #timer: Timer | undefined;
  #told = false;

  constructor(options: StalenessOptions) {
    this.#options = options;
    this.#lostAt = this.#now();
  }

  /** Whether policy is too old. */
  get value(): boolean {
    return this.#lostAt !== undefined && this.ageMs > this.#options.maxStalenessMs;
  }

  /** How long ago policy was last known to be current, in milliseconds; 0 while it is. */
  get ageMs(): number {
    if (this.#lostAt === undefined) return 0;
    const { wallMs, monotonicMs } = this.#now();
    return Math.max(wallMs - this.#lostAt.wallMs, monotonicMs - this.#lostAt.monotonicMs, 0);
  }

  subscribe(listener: (isStale: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A CA that delivers policy is followed: what there is is current. */
  readonly followed = (): void => {
    this.#lostAt = undefined;
    this.#timer?.cancel();
    this.#tell();
  };

  /** It is followed no longer. */
  readonly lost = (): void => {
    if (this.#lostAt !== undefined) return;
    this.#lostAt = this.#now();
    this.#wait();
  };

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  #now(): Moment {
    const { clock } = this.#options;
    return { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs() };
  }

  #wait(): void {
    const { clock, maxStalenessMs } = this.#options;
    this.#timer?.cancel();
    this.#timer = clock.setTimer(Math.max(0, maxStalenessMs - this.ageMs) + 1, () => (this.value ? this.#tell() : this.#wait()));
  }

  #tell(): void {
    const { value } = this;
    if (value === this.#told) return;
    this.#told = value;
    for (const listener of this.#listeners) listener(value);
  }
}
