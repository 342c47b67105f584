import type { IdentityError } from '../../core/errors.ts';
import { signHere, type SignedX509 } from './sign-order.ts';
import type { WorkerAuthority } from './signing-messages.ts';
import type { SigningPool } from './signing-pool.ts';
import type { X509Order } from './x509-order.ts';

type Outcome = SignedX509 | IdentityError;

/** An order that waits for others, or for a thread. */
interface Waiting {
  readonly order: X509Order;
  readonly authority: WorkerAuthority;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

/** So many at once are worth a message to a thread: fewer cost more to send than to sign. */
const WORTH_A_MESSAGE = 4;
/** So many are signed here in one turn of the event loop, two milliseconds' work, before callers are listened to again. */
const MOST_HERE = 16;

/**
 * Gathers single orders that arrive together and shares them between the threads and this one, so that none is idle and no order
 * waits for a thread. One that comes alone is signed here at once, which is faster for it.
 */
export class SigningQueue {
  readonly #pool: SigningPool;
  readonly #sign: (tbs: Uint8Array, authority: WorkerAuthority) => Uint8Array;
  /** Threads that are used: one core is left to this one. */
  readonly #threads: number;
  #waiting: Waiting[] = [];
  #scheduled = false;
  /** Messages that are with the threads. */
  #away = 0;

  constructor(pool: SigningPool, sign: (tbs: Uint8Array, authority: WorkerAuthority) => Uint8Array) {
    this.#pool = pool;
    this.#sign = sign;
    this.#threads = Math.max(1, pool.size - 1);
  }

  /** Makes and signs one. @throws IdentityError when the threads fail */
  sign(order: X509Order, authority: WorkerAuthority): Promise<Outcome> {
    this.#schedule();
    return new Promise((resolve, reject) => this.#waiting.push({ order, authority, resolve, reject }));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // The end of this turn of the event loop: by then everyone whose request is here has come.
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const { length } = this.#waiting;
    if (length >= WORTH_A_MESSAGE) this.#pool.warmUp(this.#threads);
    const free = this.#pool.isWarm ? this.#threads - this.#away : 0;
    const share = Math.max(WORTH_A_MESSAGE, Math.ceil(length / (free + 1)));
    for (let left = free; left > 0 && this.#waiting.length > share; left--) void this.#send(this.#take(share));
    this.#signHere();
    if (this.#waiting.length > 0) this.#schedule();
  }

  /** Up to so many orders, all for the authority of the first. */
  #take(most: number): readonly Waiting[] {
    const id = this.#waiting[0]?.authority.id;
    const other = this.#waiting.findIndex(({ authority }) => authority.id !== id);
    return this.#waiting.splice(0, other === -1 ? most : Math.min(most, other));
  }

  #signHere(): void {
    for (const { order, authority, resolve } of this.#waiting.splice(0, MOST_HERE)) {
      resolve(signHere(order, authority.profile, (tbs) => this.#sign(tbs, authority)));
    }
  }

  async #send(group: readonly Waiting[]): Promise<void> {
    const [first] = group;
    if (first === undefined) return;
    this.#away++;
    try {
      const outcomes = await this.#pool.signTogether(
        group.map(({ order }) => order),
        first.authority,
      );
      outcomes.forEach((outcome, index) => group[index]?.resolve(outcome));
    } catch (error) {
      for (const { reject } of group) reject(error);
    } finally {
      this.#away--;
    }
  }
}
