import type { Clock, Timer } from '../core/clock.ts';
import { Current, type Source } from '../core/current.ts';
import type { Logger } from '../runtime/log.ts';
import { encodePem } from '../spiffe/certificate.ts';
import type { Issuer, ServerSvid } from './issue/issuer.ts';

/** What a {@link ServerIdentity} needs. */
export interface ServerIdentityOptions {
  readonly issuer: Issuer;
  readonly clock: Clock;
  readonly log: Logger;
  /** Calls back when X.509 authorities were tainted: what rests on them is to be replaced. */
  readonly taints?: Source<unknown>;
}

const RETRY_MS = 5_000;
const MIN_DELAY_MS = 1_000;

/** The CA's own X509-SVID, `/spire/server`, replaced at half of its life. */
export class ServerIdentity implements Disposable {
  readonly #options: ServerIdentityOptions;
  readonly #current: Current<ServerSvid>;
  readonly #unsubscribe: () => void;
  #timer: Timer | undefined;
  #disposed = false;

  private constructor(options: ServerIdentityOptions, first: ServerSvid) {
    this.#options = options;
    this.#current = new Current(first);
    this.#unsubscribe = options.taints?.subscribe(() => void this.#replace()) ?? (() => {});
    this.#schedule();
  }

  /** Issues the first SVID. @throws IdentityError `unavailable` */
  static async start(options: ServerIdentityOptions): Promise<ServerIdentity> {
    return new ServerIdentity(options, await options.issuer.issueServerSvid());
  }

  /** The SVID in force and its successors. */
  get svid(): Source<ServerSvid> {
    return this.#current;
  }

  #schedule(delayMs = this.#halfLifeMs()): void {
    this.#timer?.cancel();
    if (!this.#disposed) this.#timer = this.#options.clock.setTimer(delayMs, () => void this.#replace());
  }

  #halfLifeMs(): number {
    return Math.max(MIN_DELAY_MS, (this.#current.value.expiresAtMs - this.#options.clock.nowMs()) / 2);
  }

  async #replace(): Promise<void> {
    const { issuer, log } = this.#options;
    try {
      this.#current.set(await issuer.issueServerSvid());
      log.info({ serial: this.#current.value.serialHex }, 'server svid replaced');
      this.#schedule();
    } catch (err) {
      log.error({ err }, 'server svid not replaced');
      this.#schedule(RETRY_MS);
    }
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.cancel();
    this.#unsubscribe();
  }
}

/** An SVID with its key as TLS takes them: PEM, leaf first. */
export function tlsCredentials({ chain, privateKey }: ServerSvid): { cert: string; key: string } {
  const cert = chain.map((der) => encodePem('CERTIFICATE', der)).join('');
  return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}
