import type { Clock } from '../../core/clock.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import type { AgentEntry } from './identities.ts';
import type { SvidIssuer } from './issuer.ts';
import { Lifetime } from '../../runtime/lifetime.ts';
import { keyIdOf, type CachedToken } from './token.ts';

/** What {@link JwtSvidCache} is made from. */
export interface JwtSvidCacheOptions {
  readonly issuer: SvidIssuer;
  readonly clock: Clock;
  readonly log: Logger;
  /** How many tokens are kept; those unused for longest go first. 1,000 unless given, as in SPIRE. */
  readonly maxTokens?: number;
}

const TIMEOUT_MS = 30_000;
// Whoever asks for audiences of megabytes gets tokens, but no room in the cache.
const MAX_KEY_LENGTH = 4_096;
// With a token in hand that still is valid, the CA gets less time to give a newer one.
const TIMEOUT_WITH_TOKEN_MS = 5_000;

/**
 * JWT-SVIDs by entry and set of audiences: fetched when asked for, kept until half life. While the CA is out of reach a token
 * serves until it expires.
 */
export class JwtSvidCache {
  readonly #options: JwtSvidCacheOptions;
  readonly #tokens = new Map<string, CachedToken>();
  readonly #pending = new Map<string, Promise<CachedToken>>();
  #withdrawn: ReadonlySet<string> = new Set();
  #generation = 0;

  constructor(options: JwtSvidCacheOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#tokens.size;
  }

  /** Changes whenever tokens were withdrawn before their time, so that what was made from them can be dropped too. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * A token for an entry and audiences, in whatever order; at once when there is a fresh one.
   *
   * @throws IdentityError `unavailable` when the CA cannot be reached and there is none
   */
  get(entry: AgentEntry, audience: readonly string[]): CachedToken | Promise<CachedToken> {
    const key = keyOf(entry, audience);
    if (entry.jwtSvidIncludeJti || key.length > MAX_KEY_LENGTH) return this.#fetch(entry, audience, TIMEOUT_MS);
    const { clock } = this.#options;
    const known = this.#tokens.get(key);
    if (known !== undefined && !known.lifetime.isDue(clock)) {
      // Moved to the end: the map's order is the order of use.
      this.#tokens.delete(key);
      this.#tokens.set(key, known);
      return known;
    }
    return this.#pending.get(key) ?? this.#refresh(key, entry, audience);
  }

  /** Drops the tokens that these authorities signed: they are tainted. */
  withdraw(keyIds: ReadonlySet<string>): void {
    if (keyIds.isSubsetOf(this.#withdrawn)) return;
    this.#withdrawn = keyIds;
    for (const [key, { keyId }] of this.#tokens) if (keyIds.has(keyId)) this.#tokens.delete(key);
    this.#generation++;
  }

  #refresh(key: string, entry: AgentEntry, audience: readonly string[]): Promise<CachedToken> {
    const pending = this.#fetchOrKeep(key, entry, audience).finally(() => this.#pending.delete(key));
    this.#pending.set(key, pending);
    return pending;
  }

  async #fetchOrKeep(key: string, entry: AgentEntry, audience: readonly string[]): Promise<CachedToken> {
    const { clock, log } = this.#options;
    const isUsable = this.#tokens.get(key)?.lifetime.isExpired(clock) === false;
    const generation = this.#generation;
    try {
      const fresh = await this.#fetch(entry, audience, isUsable ? TIMEOUT_WITH_TOKEN_MS : TIMEOUT_MS);
      if (generation === this.#generation) this.#keep(key, fresh);
      return fresh;
    } catch (err) {
      const kept = this.#tokens.get(key);
      if (kept === undefined || kept.lifetime.isExpired(clock)) throw err;
      log.warn({ err, spiffeId: entry.spiffeId.toString() }, 'jwt-svid not renewed; the present one serves until it expires');
      return kept;
    }
  }

  async #fetch(entry: AgentEntry, audience: readonly string[], timeoutMs: number): Promise<CachedToken> {
    const { issuer, clock } = this.#options;
    const { token, issuedAtMs, expiresAtMs } = await issuer
      .signJwtSvid({ entryId: entry.id, audience, timeoutMs })
      .catch((cause: unknown) => {
        // What the CA refuses for good would be refused again.
        if (isIdentityError(cause, 'invalid_argument')) throw cause;
        const why = cause instanceof Error ? cause.message : 'unknown reason';
        throw new IdentityError('unavailable', `the CA could not sign a JWT-SVID (${why}); try again`, { cause });
      });
    const lifetime = new Lifetime({ notBeforeMs: issuedAtMs, expiresAtMs }, clock);
    return { token, issuedAtMs, expiresAtMs, lifetime, keyId: keyIdOf(token) };
  }

  #keep(key: string, token: CachedToken): void {
    this.#tokens.delete(key);
    this.#tokens.set(key, token);
    const [oldest] = this.#tokens.keys();
    if (this.#tokens.size > (this.#options.maxTokens ?? 1_000) && oldest !== undefined) this.#tokens.delete(oldest);
  }
}

// With the ID, the TTL and the claims, so that an entry that becomes another one does not get the tokens of the first.
function keyOf(entry: AgentEntry, audience: readonly string[]): string {
  const audiences = audience.length === 1 ? audience : [...new Set(audience)].sort();
  const { id, spiffeId, jwtSvidTtlSeconds, jwtClaimsDigest = '' } = entry;
  return [id, spiffeId.toString(), jwtSvidTtlSeconds, jwtClaimsDigest, ...audiences].join('\0');
}
