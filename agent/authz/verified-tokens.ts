import { hash } from 'node:crypto';
import type { IssuerKey, KeySource, TokenIssuer } from '../../policy/users/token-issuer.ts';
import {
  MAX_USER_TOKEN_BYTES,
  verifyUserToken,
  type VerifiedUserToken,
  type VerifyUserTokenOptions,
} from '../../policy/users/user-token.ts';
import type { Registry } from '../../runtime/metrics.ts';

/** A token that was verified, and what it was verified with. Nothing of its text. */
interface Remembered {
  readonly verified: VerifiedUserToken;
  readonly used: UsedKeys;
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly bytes: number;
}

interface UsedKeys {
  readonly issuer: Pick<TokenIssuer, 'issuer' | 'jwksUri'>;
  readonly keyId: string | undefined;
  readonly keys: readonly IssuerKey[];
}

/** How long a verified token is taken for granted. */
const REMEMBERED_MS = 60_000;
const MAX_TOKENS = 2_000;
/** Of the tokens that are remembered, as they came: their claims take a few times as much memory. */
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * Remembers users' tokens that were verified, because a signature takes a hundred times as long to check as a digest takes to make.
 * Known by the SHA-256 of the token and by all that it was verified against: whose tokens are accepted, for which audiences, with which
 * claims, and who the own issuer is. Forgotten at the token's `exp`, after a minute, when its issuer's keys were fetched anew or can be had
 * no longer, and when the wall clock was set back. What was refused is not remembered. Bounded; the least recently used goes first.
 *
 * @example
 * const tokens = new VerifiedTokens();
 * const { user } = await tokens.verify(token, { issuers, keys, nowMs: clock.nowMs() }); // as `verifyUserToken`
 */
export class VerifiedTokens {
  readonly #remembered = new Map<string, Remembered>();
  readonly #digests = new WeakMap<TokenIssuer, string>();
  #bytes = 0;
  #hits = 0;
  #misses = 0;

  /** How many tokens are remembered, and how often one was known, or was not. */
  get counts(): { readonly tokens: number; readonly hits: number; readonly misses: number } {
    return { tokens: this.#remembered.size, hits: this.#hits, misses: this.#misses };
  }

  /** As `verifyUserToken`, and what that throws. */
  readonly verify = async (token: string, options: VerifyUserTokenOptions): Promise<VerifiedUserToken> => {
    if (token.length > MAX_USER_TOKEN_BYTES) return verifyUserToken(token, options);
    const key = this.#keyOf(token, options);
    const known = this.#knownAt(key, options.nowMs);
    // The source is asked as for any token: it has keys fetched anew in time, and says when they can be trusted no longer.
    if (known !== undefined && (await options.keys.keysOf(known.used.issuer, known.used.keyId)) === known.used.keys) {
      this.#hits += 1;
      return known.verified;
    }
    this.#misses += 1;
    return this.#verify(token, key, options);
  };

  /** Adds the metric. */
  async registerMetrics(registry: Registry): Promise<void> {
    const { Counter } = await import('../../runtime/metrics.ts');
    const read = (): Readonly<Record<string, number>> => ({ hit: this.#hits, miss: this.#misses });
    registry.registerMetric(
      new Counter({
        name: 'countersign_agent_user_token_cache_total',
        help: "Users' tokens that were known to be valid (hit), or had to be verified (miss)",
        labelNames: ['outcome'],
        registers: [],
        collect() {
          this.reset();
          for (const [outcome, count] of Object.entries(read())) this.inc({ outcome }, count);
        },
      }),
    );
  }

  async #verify(token: string, key: string, options: VerifyUserTokenOptions): Promise<VerifiedUserToken> {
    const { nowMs } = options;
    const source = new NotedKeys(options.keys);
    const verified = await verifyUserToken(token, { ...options, keys: source });
    const untilMs = Math.min(verified.expiresAtMs, nowMs + REMEMBERED_MS);
    if (source.used !== undefined && nowMs < untilMs) {
      this.#remember(key, { verified, used: source.used, sinceMs: nowMs, untilMs, bytes: token.length });
    }
    return verified;
  }

  #keyOf(token: string, { issuers, ownIssuer = '' }: VerifyUserTokenOptions): string {
    return [hash('sha256', token, 'base64url'), ...issuers.map((issuer) => this.#digestOf(issuer)), ownIssuer].join(' ');
  }

  #digestOf(accepted: TokenIssuer): string {
    const known = this.#digests.get(accepted);
    if (known !== undefined) return known;
    const { issuer, jwksUri = null, audiences, claims } = accepted;
    const digest = hash('sha256', JSON.stringify([issuer, jwksUri, audiences, Object.entries(claims)]), 'base64url');
    this.#digests.set(accepted, digest);
    return digest;
  }

  #knownAt(key: string, nowMs: number): Remembered | undefined {
    const known = this.#remembered.get(key);
    if (known === undefined) return undefined;
    this.#forget(key, known);
    if (nowMs < known.sinceMs || nowMs >= known.untilMs) return undefined;
    // Used last, from now on.
    this.#remember(key, known);
    return known;
  }

  #remember(key: string, entry: Remembered): void {
    const before = this.#remembered.get(key);
    if (before !== undefined) this.#forget(key, before);
    this.#remembered.set(key, entry);
    this.#bytes += entry.bytes;
    for (const [oldest, each] of this.#remembered) {
      if (this.#remembered.size <= MAX_TOKENS && this.#bytes <= MAX_BYTES && entry.sinceMs < each.untilMs) return;
      this.#forget(oldest, each);
    }
  }

  #forget(key: string, entry: Remembered): void {
    this.#remembered.delete(key);
    this.#bytes -= entry.bytes;
  }
}

/** A source of keys that notes which it gave. */
class NotedKeys implements KeySource {
  readonly #source: KeySource;
  used: UsedKeys | undefined;

  constructor(source: KeySource) {
    this.#source = source;
  }

  async keysOf(issuer: UsedKeys['issuer'], keyId: string | undefined): Promise<readonly IssuerKey[]> {
    const keys = await this.#source.keysOf(issuer, keyId);
    this.used = { issuer, keyId, keys };
    return keys;
  }
}
