import { Backoff } from '../../core/backoff.ts';
import { sleep } from '../../core/clock.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { toIdentityError } from '../../runtime/grpc-client.ts';
import { PollSync } from './poll-sync.ts';
import type { SyncContext } from './sync-target.ts';
import { WatchSync } from './watch-sync.ts';

/** What {@link Synchronizer} is made from. */
export interface SynchronizerOptions extends SyncContext {
  /** Draws the consequence of a denial by the CA; tells whether the agent is in order again. Throws to end the agent. */
  readonly recover: (error: unknown, signal: AbortSignal) => Promise<boolean>;
  /** Told when the CA is in touch, for the first time or again. */
  readonly onConnected: () => void;
  /** Told whenever policy is known to be current, and once that is so no longer. */
  readonly onPolicyFollowed?: ((isFollowed: boolean) => void) | undefined;
}

/** How synchronisation stands; for health and metrics. */
export interface SyncStatus {
  /** How the CA is followed; undefined until it answered once. */
  readonly mode: 'watch' | 'poll' | undefined;
  /** Whether the CA is being followed now. */
  readonly isConnected: boolean;
  /** When what is in force was last known to be all there is, in wall time; 0 for never. */
  readonly lastSyncMs: number;
  /** Why the CA cannot be followed now. */
  readonly failure: IdentityError | undefined;
}

// However long the CA was away, agents are back within five seconds of it; a thousand of them spread over that time.
const RETRY = { initialMs: 500, maxMs: 3_000 } as const;
// SPIRE's agents ask every five seconds.
const POLL_INTERVAL_MS = 5_000;

/**
 * Keeps entries, bundles and policy current for as long as the agent runs: by the CA's watch stream, or by asking a SPIRE server.
 * After a failure it comes back with growing, random pauses, so that a thousand agents do not come back together.
 */
export class Synchronizer {
  readonly #options: SynchronizerOptions;
  readonly #watch: WatchSync;
  readonly #poll: PollSync;
  readonly #backoff = new Backoff(RETRY);
  #status: SyncStatus = { mode: undefined, isConnected: false, lastSyncMs: 0, failure: undefined };

  constructor(options: SynchronizerOptions) {
    this.#options = options;
    this.#watch = new WatchSync(options);
    this.#poll = new PollSync(options);
  }

  get status(): SyncStatus {
    return this.#status;
  }

  /** Runs until the signal aborts. @throws IdentityError when the CA has taken this agent's identity away for good */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#follow(signal);
      } catch (error) {
        signal.throwIfAborted();
        await this.#afterFailure(error, signal);
      }
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    try {
      await this.#watch.follow(() => this.#succeeded('watch'), signal);
      throw new IdentityError('unavailable', 'the CA ended the watch stream');
    } catch (error) {
      if (!isIdentityError(toIdentityError(error), 'unimplemented')) throw error;
      await this.#pollUntilFailure(signal);
    }
  }

  // Ends with the first failure: the server that comes back may be one that can be watched.
  async #pollUntilFailure(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#poll.synchronise(signal);
      this.#watch.startOver();
      this.#succeeded('poll');
      await sleep(this.#options.clock, POLL_INTERVAL_MS, signal);
    }
  }

  #succeeded(mode: 'watch' | 'poll'): void {
    const { clock, log, onPolicyFollowed } = this.#options;
    const wasConnected = this.#status.isConnected;
    onPolicyFollowed?.(mode === 'watch' && this.#watch.deliversPolicy);
    this.#status = { mode, isConnected: true, lastSyncMs: clock.nowMs(), failure: undefined };
    if (!wasConnected) {
      log.info({ mode }, 'synchronised with the ca');
      this.#options.onConnected();
    }
    this.#backoff.reset();
  }

  async #afterFailure(error: unknown, signal: AbortSignal): Promise<void> {
    const failure = toIdentityError(error);
    const { log, onPolicyFollowed } = this.#options;
    onPolicyFollowed?.(false);
    // The CA ends a stream whose agent has renewed its SVID meanwhile: nothing is wrong with that.
    const wasConnected = this.#status.isConnected;
    if (failure.code === 'aborted') log.info({ reason: failure.message }, 'watching again');
    else if (this.#status.failure?.message !== failure.message) log.warn({ err: failure }, 'not synchronised; trying again');
    this.#status = { ...this.#status, isConnected: false, failure };
    if (failure.code === 'aborted' && wasConnected) return;
    if (await this.#options.recover(error, signal)) return;
    await sleep(this.#options.clock, this.#backoff.nextMs(), signal);
  }
}
