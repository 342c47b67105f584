import type { IdentityError } from '../../core/errors.ts';
import { signHere, type SignedX509 } from './sign-order.ts';
import type { WorkerAuthority } from './signing-messages.ts';
import type { SigningPool } from './signing-pool.ts';
import type { X509Order } from './x509-order.ts';

type Outcome = SignedX509 | IdentityError;

/** An order that waits for the end of this turn of the event loop. */
interface Waiting {
  readonly order: X509Order;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

/** So many at once are worth starting threads for. */
const WORTH_THREADS = 4;

/**
 * Gathers single orders that arrive in the same turn of the event loop, and gives them to the threads together: that costs this
 * thread a tenth of signing them. One that comes alone is signed at once, which is faster for it.
 */
export class SigningQueue {
  readonly #pool: SigningPool;
  readonly #sign: (tbs: Uint8Array, authority: WorkerAuthority) => Uint8Array;
  #waiting: Waiting[] = [];
  #authority: WorkerAuthority | undefined;
  /** Orders that are with the threads. */
  #away = 0;

  constructor(pool: SigningPool, sign: (tbs: Uint8Array, authority: WorkerAuthority) => Uint8Array) {
    this.#pool = pool;
    this.#sign = sign;
  }

  /** Makes and signs one. @throws IdentityError when the threads fail */
  sign(order: X509Order, authority: WorkerAuthority): Promise<Outcome> {
    if (this.#authority !== undefined && this.#authority.id !== authority.id) this.#flush();
    if (this.#waiting.length === 0) setImmediate(() => this.#flush());
    this.#authority = authority;
    return new Promise((resolve, reject) => this.#waiting.push({ order, resolve, reject }));
  }

  #flush(): void {
    const [waiting, authority] = [this.#waiting, this.#authority];
    this.#waiting = [];
    this.#authority = undefined;
    if (authority === undefined) return;
    const isBusy = waiting.length >= WORTH_THREADS;
    if (isBusy) this.#pool.warmUp();
    if (this.#pool.isWarm && (isBusy || this.#away > 0)) return void this.#send(waiting, authority);
    for (const { order, resolve } of waiting) {
      resolve(signHere(order, authority.profile, (tbs) => this.#sign(tbs, authority)));
    }
  }

  async #send(waiting: readonly Waiting[], authority: WorkerAuthority): Promise<void> {
    this.#away += waiting.length;
    try {
      const outcomes = await this.#pool.sign(
        waiting.map(({ order }) => order),
        authority,
      );
      outcomes.forEach((outcome, index) => waiting[index]?.resolve(outcome));
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    } finally {
      this.#away -= waiting.length;
    }
  }
}
