import { sleep, type Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';

/** What a {@link RateLimiter} needs. */
export interface RateLimitOptions {
  readonly clock: Clock;
  /** Units per second and address, and as many at once; 0: no limit. */
  readonly perSecond: number;
  /** Nobody waits longer for a turn; 10 s unless given. */
  readonly maxWaitMs?: number;
}

/** How a caller waits for its turn. */
export interface Turn {
  /** Whom the limit counts; callers without an address (the local socket) are not limited. */
  readonly address: string | undefined;
  readonly count: number;
  /** When the caller gives up, on the clock's monotonic time. */
  readonly deadlineMs: number | undefined;
  /** Asked for only when the caller has to wait. */
  readonly signal: () => AbortSignal | undefined;
}

const GENERATION_MS = 60_000;

/**
 * A token bucket for each client address, of one second's units. A caller that comes too soon waits for its turn, as long as
 * it would still be there; otherwise, and for more units than a bucket holds, it gets `resource_exhausted`.
 * Addresses that were not seen for two minutes are forgotten.
 */
export class RateLimiter {
  readonly #options: RateLimitOptions;
  // When the bucket of an address would be full again, in two generations so that forgetting costs no scan.
  #current = new Map<string, number>();
  #previous = new Map<string, number>();
  #generationEndsMs = 0;

  constructor(options: RateLimitOptions) {
    this.#options = options;
  }

  /** Resolves when it is the caller's turn; undefined when that is now. @throws IdentityError `resource_exhausted` */
  take(turn: Turn): Promise<void> | undefined {
    const { clock, perSecond, maxWaitMs = 10_000 } = this.#options;
    if (perSecond === 0 || turn.address === undefined) return undefined;
    if (turn.count > perSecond) throw exhausted(`${turn.count} at once exceed the limit of ${perSecond} per second`);
    const nowMs = clock.monotonicMs();
    const fullMs = Math.max(this.#lookUp(turn.address, nowMs), nowMs) + (turn.count / perSecond) * 1000;
    const waitMs = fullMs - nowMs - 1000;
    const patienceMs = Math.min(maxWaitMs, (turn.deadlineMs ?? Infinity) - nowMs);
    if (waitMs > patienceMs) throw exhausted(`more than ${perSecond} per second from this address; try again later`, waitMs);
    this.#current.set(turn.address, fullMs);
    return waitMs > 0 ? sleep(clock, waitMs, turn.signal()) : undefined;
  }

  #lookUp(address: string, nowMs: number): number {
    if (nowMs >= this.#generationEndsMs) {
      this.#previous = this.#current;
      this.#current = new Map();
      this.#generationEndsMs = nowMs + GENERATION_MS;
    }
    return this.#current.get(address) ?? this.#previous.get(address) ?? 0;
  }
}

function exhausted(message: string, retryAfterMs?: number): IdentityError {
  return new IdentityError(
    'resource_exhausted',
    message,
    retryAfterMs === undefined ? {} : { retryAfterMs: Math.ceil(retryAfterMs) },
  );
}
