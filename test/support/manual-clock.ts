import type { Clock, Timer } from '../../core/clock.ts';

interface Pending {
  readonly atMs: number;
  readonly fire: () => void;
}

/** A clock that only moves when a test moves it. Wall and monotonic time may be moved apart. */
export class ManualClock implements Clock {
  #wallMs: number;
  #monotonicMs = 0;
  readonly #pending = new Set<Pending>();

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#wallMs = startMs;
  }

  nowMs(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    const pending = { atMs: this.#monotonicMs + Math.max(0, delayMs), fire };
    this.#pending.add(pending);
    return { cancel: () => void this.#pending.delete(pending) };
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#pending.size;
  }

  /** When the next timer fires, in milliseconds from now; undefined when none is set. */
  get nextTimerMs(): number | undefined {
    const times = [...this.#pending].map(({ atMs }) => atMs - this.#monotonicMs);
    return times.length === 0 ? undefined : Math.max(0, Math.min(...times));
  }

  /** Lets time pass: both clocks move and timers that fall due fire, in order, each at its time. */
  advance(byMs: number): void {
    const endMs = this.#monotonicMs + byMs;
    for (let next = this.#dueBy(endMs); next !== undefined; next = this.#dueBy(endMs)) {
      this.#pending.delete(next);
      this.#moveTo(next.atMs);
      next.fire();
    }
    this.#moveTo(endMs);
  }

  /** Sets the wall clock forward or back without letting time pass, as an operator or NTP does. */
  step(byMs: number): void {
    this.#wallMs += byMs;
  }

  #dueBy(endMs: number): Pending | undefined {
    const due = [...this.#pending].filter(({ atMs }) => atMs <= endMs);
    return due.reduce<Pending | undefined>(
      (first, each) => (first !== undefined && first.atMs <= each.atMs ? first : each),
      undefined,
    );
  }

  #moveTo(monotonicMs: number): void {
    this.#wallMs += Math.max(0, monotonicMs - this.#monotonicMs);
    this.#monotonicMs = Math.max(this.#monotonicMs, monotonicMs);
  }
}
