import { Backoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { parseKeySet } from '../../policy/users/key-set.ts';
import type { IssuerKey, KeySource, TokenIssuer } from '../../policy/users/token-issuer.ts';
import type { Logger } from '../log.ts';
import { Counter } from '../metrics.ts';
import type { Registry } from '../metrics.ts';
import { discoverKeys } from './discovery.ts';
import { fetchDocument } from './fetch-document.ts';

/** What {@link IssuerKeys} need. */
export interface IssuerKeysOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly allowPrivateHosts: readonly string[];
  /** PEM roots of the issuers' certificates; the system's own unless given. */
  readonly rootsPem?: readonly string[] | undefined;
  readonly metrics?: Registry | undefined;
}

type Named = Pick<TokenIssuer, 'issuer' | 'jwksUri'>;

/** The keys of one issuer as far as they are known. Times are monotonic. */
interface Known {
  readonly issuer: Named;
  readonly backoff: Backoff;
  keys: readonly IssuerKey[] | undefined;
  fetchedAtMs: number;
  freshUntilMs: number;
  /** No request before this, after one that failed. */
  nextAttemptMs: number;
  /** When the last request began. */
  askedAtMs: number;
  pending: Promise<void> | undefined;
}

const MINUTE_MS = 60_000;
const DEFAULT_FRESH_MS = 10 * MINUTE_MS;
const [MIN_FRESH_MS, MAX_FRESH_MS] = [MINUTE_MS, 60 * MINUTE_MS];
/** How long keys serve while their issuer does not answer. */
const MAX_STALE_MS = 6 * 60 * MINUTE_MS;
/** How often made-up key IDs may make us ask an issuer. */
const UNKNOWN_KEY_INTERVAL_MS = 30_000;
/** How long a caller waits for a request, from when that began: whoever asks the caller gives up after a few seconds, too. */
const PATIENCE_MS = 2_000;
/** When a caller who would not wait may come again: what is under way may be through by then. */
const RETRY_MS = 1_000;
/** More issuers than any configuration has; the one that was added first goes. */
const MAX_ISSUERS = 256;

/**
 * The keys of issuers, fetched when first needed and kept: as long as the issuer allows, between a minute and an hour. Then they
 * are fetched again while those at hand still serve; while the issuer fails, they serve for six hours. A token with an unknown
 * key ID has the keys fetched at once, at most every 30 s. However many ask, one request is under way for an issuer. Callers wait
 * for it until it has taken two seconds; it goes on without them, and its keys serve those that come next.
 *
 * @example
 * await using keys = new IssuerKeys({ clock, log, allowPrivateHosts: [] });
 * await verifyUserToken(token, { issuers, keys, nowMs: clock.nowMs() });
 */
export class IssuerKeys implements KeySource, AsyncDisposable {
  readonly #options: IssuerKeysOptions;
  readonly #known = new Map<string, Known>();
  readonly #closing = new AbortController();
  readonly #fetches: Counter<'issuer' | 'outcome'> | undefined;

  constructor(options: IssuerKeysOptions) {
    this.#options = options;
    this.#fetches = options.metrics && createCounter(options.metrics);
  }

  async keysOf(issuer: Named, keyId: string | undefined): Promise<readonly IssuerKey[]> {
    const known = this.#of(issuer);
    const nowMs = this.#options.clock.monotonicMs();
    const usable = known.keys !== undefined && nowMs < known.fetchedAtMs + MAX_STALE_MS ? known.keys : undefined;
    if (usable === undefined) return this.#firstKeys(known, nowMs);
    if (nowMs >= known.freshUntilMs && nowMs >= known.nextAttemptMs) this.#refresh(known).catch(() => undefined);
    if (keyId === undefined || usable.some((key) => key.keyId === keyId)) return usable;
    // What is under way may bring the key, and costs nothing more; a new request is for the patient.
    if (known.pending === undefined && nowMs < Math.max(known.askedAtMs + UNKNOWN_KEY_INTERVAL_MS, known.nextAttemptMs))
      return usable;
    await this.#awaitRefresh(known).catch(() => undefined);
    return known.keys ?? usable;
  }

  /** Ends requests that are under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new IdentityError('unavailable', 'the process is stopping'));
    await Promise.allSettled([...this.#known.values()].map(async ({ pending }) => pending));
  }

  #of(issuer: Named): Known {
    const name = JSON.stringify([issuer.issuer, issuer.jwksUri]);
    let known = this.#known.get(name);
    if (known !== undefined) return known;
    known = {
      issuer,
      backoff: new Backoff({ initialMs: 2000, maxMs: MINUTE_MS }),
      keys: undefined,
      fetchedAtMs: 0,
      freshUntilMs: 0,
      nextAttemptMs: 0,
      askedAtMs: 0,
      pending: undefined,
    };
    this.#known.set(name, known);
    const [oldest] = this.#known.keys();
    if (this.#known.size > MAX_ISSUERS && oldest !== undefined) this.#known.delete(oldest);
    return known;
  }

  async #firstKeys(known: Known, nowMs: number): Promise<readonly IssuerKey[]> {
    const { issuer, nextAttemptMs } = known;
    const unavailable = (retryAfterMs: number, cause?: unknown): IdentityError =>
      new IdentityError('unavailable', `the keys of ${issuer.issuer} are not to be had`, { cause, retryAfterMs });
    if (known.pending === undefined && nowMs < nextAttemptMs) throw unavailable(nextAttemptMs - nowMs);
    try {
      await this.#awaitRefresh(known);
    } catch (cause) {
      const waitMs = known.pending === undefined ? known.nextAttemptMs - this.#options.clock.monotonicMs() : RETRY_MS;
      throw unavailable(Math.max(0, waitMs), cause);
    }
    return known.keys ?? [];
  }

  /** Waits for what is under way, or a new request, as long as a caller may be kept. */
  async #awaitRefresh(known: Known): Promise<void> {
    const { clock } = this.#options;
    const fetched = this.#refresh(known);
    const { promise: isOver, reject } = Promise.withResolvers<never>();
    const leftMs = Math.max(0, known.askedAtMs + PATIENCE_MS - clock.monotonicMs());
    const timer = clock.setTimer(leftMs, () => reject(new IdentityError('unavailable', 'the issuer takes its time')));
    try {
      await Promise.race([fetched, isOver]);
    } finally {
      timer.cancel();
    }
  }

  #refresh(known: Known): Promise<void> {
    known.pending ??= this.#fetch(known).finally(() => {
      known.pending = undefined;
    });
    return known.pending;
  }

  async #fetch(known: Known): Promise<void> {
    const { clock, log } = this.#options;
    const { issuer, jwksUri } = known.issuer;
    known.askedAtMs = clock.monotonicMs();
    try {
      const options = { ...this.#options, signal: this.#closing.signal };
      const { body, maxAgeMs = DEFAULT_FRESH_MS } = await fetchDocument(
        jwksUri ?? (await discoverKeys(issuer, options)),
        options,
      );
      known.keys = parseKeySet(body);
      known.fetchedAtMs = clock.monotonicMs();
      known.freshUntilMs = known.fetchedAtMs + Math.min(MAX_FRESH_MS, Math.max(MIN_FRESH_MS, maxAgeMs));
      known.nextAttemptMs = 0;
      known.backoff.reset();
      this.#fetches?.inc({ issuer, outcome: 'ok' });
      log.debug({ issuer, keys: known.keys.length }, 'issuer keys fetched');
    } catch (error) {
      // Never at once again, whatever the jitter says.
      known.nextAttemptMs = clock.monotonicMs() + 1000 + known.backoff.nextMs();
      this.#fetches?.inc({ issuer, outcome: 'failed' });
      if (!this.#closing.signal.aborted) log.warn({ err: error, issuer }, 'issuer keys not fetched');
      throw error;
    }
  }
}

function createCounter(registry: Registry): Counter<'issuer' | 'outcome'> {
  return new Counter({
    name: 'countersign_issuer_key_fetches_total',
    help: 'Fetches of the keys of an issuer of user tokens, by outcome',
    labelNames: ['issuer', 'outcome'],
    registers: [registry],
  });
}
