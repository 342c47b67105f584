import type { Clock } from '../../core/clock.ts';
import { Current, type Source } from '../../core/current.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import type { AgentEntry } from './identities.ts';
import type { Issued, IssuedToken, SvidIssuer } from './issuer.ts';
import { createKeyPair, privateKeyOf, type KeyPair } from '../../spiffe/key-pair.ts';
import { Lifetime } from '../../runtime/lifetime.ts';
import { keyIdOf } from './token.ts';

/** A WIT-SVID with the key that it is bound to. */
export interface WitIdentity {
  readonly token: string;
  /** The private key as a JWK, JSON. */
  readonly privateKeyJwk: string;
  readonly lifetime: Lifetime;
  /** The `kid` of the authority. */
  readonly keyId: string;
}

/** What {@link WitSvidCache} is made from. */
export interface WitSvidCacheOptions {
  readonly issuer: SvidIssuer;
  readonly clock: Clock;
  readonly log: Logger;
}

/** WIT-SVIDs by entry: signed when first asked for, kept until half life, with a new key each time. */
export class WitSvidCache {
  readonly #options: WitSvidCacheOptions;
  readonly #kept = new Map<string, WitIdentity>();
  readonly #pending = new Map<string, Promise<void>>();
  readonly #generation = new Current(0);
  #withdrawn: ReadonlySet<string> = new Set();

  constructor(options: WitSvidCacheOptions) {
    this.#options = options;
  }

  /** Changes when SVIDs were withdrawn before their time. */
  get withdrawals(): Source<number> {
    return this.#generation;
  }

  /**
   * The WIT-SVIDs of entries, in their order; what is missing or due is signed first.
   *
   * @throws IdentityError `unimplemented` when the CA has none, `unavailable` when it cannot be reached and one is missing
   */
  async get(entries: readonly AgentEntry[]): Promise<readonly WitIdentity[]> {
    const due = entries.filter((entry) => this.#isDue(entry));
    const fresh = due.filter(({ id }) => !this.#pending.has(id));
    if (fresh.length > 0) this.#request(fresh);
    await Promise.all(due.map(async ({ id }) => this.#pending.get(id)));
    return entries.map((entry) => this.#usable(entry));
  }

  /** Drops the SVIDs that these authorities signed: they are tainted. */
  withdraw(keyIds: ReadonlySet<string>): void {
    if (keyIds.isSubsetOf(this.#withdrawn)) return;
    this.#withdrawn = keyIds;
    for (const [key, { keyId }] of this.#kept) if (keyIds.has(keyId)) this.#kept.delete(key);
    this.#generation.set(this.#generation.value + 1);
  }

  #isDue(entry: AgentEntry): boolean {
    return this.#kept.get(keyOf(entry))?.lifetime.isDue(this.#options.clock) ?? true;
  }

  #usable(entry: AgentEntry): WitIdentity {
    const kept = this.#kept.get(keyOf(entry));
    if (kept !== undefined && !kept.lifetime.isExpired(this.#options.clock)) return kept;
    throw new IdentityError('unavailable', 'the CA could not sign a WIT-SVID; try again');
  }

  #request(entries: readonly AgentEntry[]): void {
    const pending = this.#sign(entries).finally(() => {
      for (const { id } of entries) this.#pending.delete(id);
    });
    for (const { id } of entries) this.#pending.set(id, pending);
  }

  async #sign(entries: readonly AgentEntry[]): Promise<void> {
    const { issuer, clock, log } = this.#options;
    for (const [key, { lifetime }] of this.#kept) if (lifetime.isExpired(clock)) this.#kept.delete(key);
    const keys = entries.map(createKeyPair);
    const requests = entries.map(({ id: entryId }, index) => ({ entryId, spki: keys[index]?.spki ?? new Uint8Array() }));
    try {
      const results = await issuer.signWitSvids(requests, new AbortController().signal);
      for (const [index, entry] of entries.entries()) this.#keep(entry, keys[index], results[index]);
    } catch (err) {
      if (isIdentityError(err, 'unimplemented')) throw err;
      log.warn({ err, entries: entries.length }, 'wit-svids not signed');
    }
  }

  #keep(entry: AgentEntry, key: KeyPair | undefined, result: Issued<IssuedToken> | undefined): void {
    const { clock, log } = this.#options;
    if (result?.ok !== true || key === undefined) {
      log.warn({ entryId: entry.id, reason: result?.ok === false ? result.message : 'no answer' }, 'wit-svid refused by the ca');
      return;
    }
    const { token, issuedAtMs, expiresAtMs } = result.value;
    const jwk = { ...privateKeyOf(key).export({ format: 'jwk' }), alg: 'ES256' };
    const lifetime = new Lifetime({ notBeforeMs: issuedAtMs, expiresAtMs }, clock, Math.random());
    this.#kept.set(keyOf(entry), { token, privateKeyJwk: JSON.stringify(jwk), lifetime, keyId: keyIdOf(token) });
  }
}

function keyOf(entry: AgentEntry): string {
  return `${entry.id}\0${entry.spiffeId.toString()}`;
}
