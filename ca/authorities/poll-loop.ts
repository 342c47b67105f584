import { Backoff } from '../../core/backoff.ts';
import type { Clock, Timer } from '../../core/clock.ts';

/** What a {@link PollLoop} does and how often. */
export interface PollLoopOptions {
  readonly clock: Clock;
  readonly intervalMs: number;
  /** Resolves when done; a rejection is told to `onError` and tried again sooner, then ever later. */
  readonly work: () => Promise<void>;
  readonly onError: (error: unknown) => void;
}

/** Does the same work again and again, never twice at once, until disposed. */
export class PollLoop implements AsyncDisposable {
  readonly #options: PollLoopOptions;
  readonly #backoff: Backoff;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(options: PollLoopOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ initialMs: Math.min(1000, options.intervalMs), maxMs: options.intervalMs });
    this.#arm(options.intervalMs);
  }

  /** Works now instead of at the next turn; while it works already, nothing more happens. */
  wake(): void {
    if (this.#stopped || this.#running !== undefined) return;
    this.#timer?.cancel();
    this.#running = this.#work();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  async #work(): Promise<void> {
    let nextMs = this.#options.intervalMs;
    try {
      await this.#options.work();
      this.#backoff.reset();
    } catch (error) {
      this.#options.onError(error);
      nextMs = this.#backoff.nextMs();
    }
    this.#running = undefined;
    if (!this.#stopped) this.#arm(nextMs);
  }

  #arm(delayMs: number): void {
    this.#timer = this.#options.clock.setTimer(delayMs, () => this.wake());
  }
}
