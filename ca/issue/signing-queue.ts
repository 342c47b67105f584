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

/**
 * Gathers single orders that arrive together and gives them to the threads, which leaves this one to its callers. One that comes
 * alone is signed here at once, which is faster for it. While every thread is busy, orders wait and go together with the next.
 */
export class SigningQueue {
  readonly #pool: SigningPool;
  readonly #sign: (tbs: Uint8Array, authority: WorkerAuthority) => Uint8Array;
  #waiting: Waiting[] = [];
  #scheduled = false;
  /** Messages that are with the threads. */
  #away = 0;

  constructor(pool: SigningPool, sign: (tbs: Uint8Array, authority: WorkerAuthority) => Uint8Array) {
    this.#pool = pool;
    this.#sign = sign;
  }

  /** Makes and signs one. @throws IdentityError when the threads fail */
  sign(order: X509Order, authority: WorkerAuthority): Promise<Outcome> {
    if (!this.#scheduled) {
      this.#scheduled = true;
      // The end of this turn of the event loop: by then everyone whose request is here has come.
      setImmediate(() => {
        this.#scheduled = false;
        this.#flush();
      });
    }
    return new Promise((resolve, reject) => this.#waiting.push({ order, authority, resolve, reject }));
  }

  #flush(): void {
    if (this.#waiting.length >= WORTH_A_MESSAGE) this.#pool.warmUp();
    if (!this.#pool.isWarm || (this.#away === 0 && this.#waiting.length < WORTH_A_MESSAGE)) return this.#signAllHere();
    // Fewer than are worth a message wait for the one that is away.
    while (this.#waiting.length >= (this.#away === 0 ? 1 : WORTH_A_MESSAGE) && this.#away < this.#pool.size) {
      void this.#send(this.#take());
    }
  }

  /** All orders for the authority of the first: the others follow in another message. */
  #take(): readonly Waiting[] {
    const id = this.#waiting[0]?.authority.id;
    const taken = this.#waiting.filter(({ authority }) => authority.id === id);
    this.#waiting = this.#waiting.filter(({ authority }) => authority.id !== id);
    return taken;
  }

  #signAllHere(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { order, authority, resolve } of waiting) {
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
      if (this.#waiting.length > 0) this.#flush();
    }
  }
}
