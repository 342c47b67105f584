import type { Clock, Timer } from '../../core/clock.ts';

/** How one attempt at an item ended: done with it, or to be tried again after a while. */
export type Attempt = { readonly done: true } | { readonly done: false; readonly retryAfterMs: number };

/** What {@link RequestQueue} needs. */
export interface RequestQueueOptions<T> {
  /** Must not throw. `attempt` counts from 0 since the item was put last. */
  readonly work: (item: T, attempt: number) => Promise<Attempt>;
  /** How many items are worked on at one time. */
  readonly concurrency: number;
  readonly clock: Clock;
}

interface Slot<T> {
  item: T;
  attempt: number;
  state: 'waiting' | 'ready' | 'running';
  timer: Timer | undefined;
  /** It was put again while it ran. */
  replaced: boolean;
}

/**
 * Works on items by key: at most one attempt for a key at one time, a bounded number at once, each item again after the time that
 * its last attempt named. An item that is put again replaces the one of before and is tried at once.
 */
export class RequestQueue<T> implements Disposable {
  readonly #options: RequestQueueOptions<T>;
  readonly #slots = new Map<string, Slot<T>>();
  readonly #ready: string[] = [];
  #running = 0;
  #ended = false;

  constructor(options: RequestQueueOptions<T>) {
    this.#options = options;
  }

  /** Items that are not done. */
  get size(): number {
    return this.#slots.size;
  }

  put(key: string, item: T): void {
    if (this.#ended) return;
    const slot = this.#slots.get(key);
    if (slot === undefined) {
      this.#slots.set(key, { item, attempt: 0, state: 'waiting', timer: undefined, replaced: false });
      this.#makeReady(key);
      return;
    }
    slot.item = item;
    slot.attempt = 0;
    if (slot.state === 'running') slot.replaced = true;
    else this.#makeReady(key);
  }

  /** Forgets an item; an attempt that runs ends by itself. */
  remove(key: string): void {
    this.#slots.get(key)?.timer?.cancel();
    this.#slots.delete(key);
  }

  /** Starts nothing more. */
  [Symbol.dispose](): void {
    this.#ended = true;
    for (const key of this.#slots.keys()) this.remove(key);
  }

  #makeReady(key: string): void {
    const slot = this.#slots.get(key);
    if (slot?.state !== 'waiting') return;
    slot.timer?.cancel();
    slot.state = 'ready';
    this.#ready.push(key);
    this.#start();
  }

  #start(): void {
    while (this.#running < this.#options.concurrency) {
      const key = this.#ready.shift();
      if (key === undefined) return;
      const slot = this.#slots.get(key);
      if (slot?.state === 'ready') void this.#run(key, slot);
    }
  }

  async #run(key: string, slot: Slot<T>): Promise<void> {
    slot.state = 'running';
    this.#running += 1;
    const result = await this.#options.work(slot.item, slot.attempt);
    this.#running -= 1;
    this.#after(key, slot, result);
    this.#start();
  }

  #after(key: string, slot: Slot<T>, result: Attempt): void {
    // Removed meanwhile, or removed and put anew: what is there now is not this one.
    if (this.#slots.get(key) !== slot) return;
    slot.state = 'waiting';
    if (slot.replaced) {
      slot.replaced = false;
      this.#makeReady(key);
    } else if (result.done) {
      this.#slots.delete(key);
    } else {
      slot.attempt += 1;
      slot.timer = this.#options.clock.setTimer(result.retryAfterMs, () => this.#makeReady(key));
    }
  }
}
