import { randomBytes } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { KeyAlgorithm, KeyStore, SigningKey } from '../keys/key-store.ts';
import type { Authority, AuthorityKind } from '../model.ts';
import type { AuthorityBundle, SigningAuthority } from './authority.ts';
import { BACKDATE_MS, createKeyId, createTokenAuthority, createX509Authority } from './create-authority.ts';
import type { Ledger } from './ledger.ts';
import { bundlePartsOf, isUnderUpstream, type LocalAuthority } from './local-authority.ts';
import { activationAtMs, preparationAtMs, PRUNE_AFTER_MS, settlingMs } from './rotation.ts';
import { loadKeyOf, signingAuthorityOf } from './signing-authority.ts';
import type { UpstreamFiles } from './upstream.ts';

/** What {@link Authorities} are opened with. */
export interface AuthoritiesOptions {
  readonly trustDomain: TrustDomain;
  /** Absolute; `authorities.json` is kept there. */
  readonly dataDir: string;
  readonly keys: KeyStore;
  readonly bundle: AuthorityBundle;
  readonly clock: Clock;
  readonly log: Logger;
  /** Lifetime of an authority, in milliseconds. */
  readonly lifetimeMs: number;
  /** `ec-p256` unless given. */
  readonly x509KeyType?: KeyAlgorithm | undefined;
  /** Of authorities for tokens; `ec-p256` unless given. */
  readonly tokenKeyType?: KeyAlgorithm | undefined;
  /** Whether tokens are exchanged, which takes an authority of its own. */
  readonly exchange?: boolean | undefined;
  readonly upstream?: UpstreamFiles | undefined;
}

/**
 * The steps in the life of this replica's authorities. Each is written to the ledger before it has effect, so that a crash
 * between any two is picked up by {@link resume}. Not safe to run twice at once: `Authorities` runs them in turn.
 */
export class AuthorityLife {
  readonly #options: AuthoritiesOptions;
  readonly #ledger: Ledger;
  /** The keys of prepared and active authorities, by key ID. */
  readonly #keys = new Map<string, SigningKey>();
  /** The active authority of each kind, with its key. */
  readonly #signing = new Map<AuthorityKind, SigningAuthority>();
  /** IDs of those that were seen to have ended: the clock may say otherwise when the ledger is next written. */
  readonly #ended = new Set<string>();

  constructor(options: AuthoritiesOptions, ledger: Ledger) {
    this.#options = options;
    this.#ledger = ledger;
  }

  /** The active authority unless it has ended; one that was seen to have ended is gone, whatever the clock says later. */
  inForce(kind: AuthorityKind): SigningAuthority | undefined {
    const authority = this.#signing.get(kind);
    if (authority !== undefined && this.#options.clock.nowMs() < authority.expiresAtMs) return authority;
    if (authority !== undefined) this.#ended.add(authority.id);
    this.#signing.delete(kind);
    return undefined;
  }

  /** What the bundle has of that ID. */
  published(kind: AuthorityKind, id: string): Authority | undefined {
    return this.#options.bundle.list().find((each) => each.kind === kind && each.id === id);
  }

  /** Picks up after a restart: keys that are gone, what was not published yet, what was not revoked to the end. */
  async resume(): Promise<void> {
    for (const authority of this.#ledger.authorities) {
      if (authority.status === 'old' || isUnderUpstream(authority) !== this.#wantsUpstream(authority)) continue;
      const key = await loadKeyOf(authority, this.#options.keys);
      if (key !== undefined) this.#keys.set(authority.keyId, key);
    }
    await this.#ledger.change((authority) => {
      if (authority.status === 'old') return authority;
      if (!this.#keys.has(authority.keyId)) return authority.status === 'active' ? { ...authority, status: 'old' } : undefined;
      // A store that was put back from a backup may lack what was published: then it is published again.
      const isPublished = authority.published.every(({ id }) => this.published(authority.kind, id));
      return isPublished ? authority : { ...authority, publishedAtMs: undefined };
    });
    for (const active of this.#ledger.authorities.filter(({ status }) => status === 'active')) {
      this.#signing.set(active.kind, signingAuthorityOf(await this.publish(active), this.#keyOf(active)));
    }
    for (const { kind, id } of this.#ledger.authorities.filter(({ revoked }) => revoked)) await this.removeFromBundle(kind, id);
  }

  #keyOf({ kind, keyId }: LocalAuthority): SigningKey {
    const key = this.#keys.get(keyId);
    if (key !== undefined) return key;
    throw new IdentityError('internal', `the key of the prepared ${kind} authority is gone: prepare another one`);
  }

  #wantsUpstream({ kind }: LocalAuthority): boolean {
    return kind === 'x509' && this.#options.upstream !== undefined;
  }

  /** Keys that a crash left without an authority; those of other replicas are not touched. */
  async deleteOrphanKeys(): Promise<void> {
    const { keys } = this.#options;
    const used = this.#usedKeys();
    const own = (await keys.list()).filter((id) => id.includes(`-${this.#ledger.replicaId}-`));
    for (const id of own) if (!used.has(id)) await keys.delete(id);
  }

  #usedKeys(): ReadonlySet<string> {
    return new Set(this.#ledger.authorities.filter(({ status }) => status !== 'old').map(({ keyId }) => keyId));
  }

  /** Does what the clock asks for: prepares, activates, retires. @throws IdentityError */
  async rotate(kind: AuthorityKind): Promise<void> {
    const nowMs = this.#options.clock.nowMs();
    await this.#retireExpired(kind, nowMs);
    await this.#publishTaints(kind);
    const active = this.#ledger.newest(kind, 'active');
    // A clock that was set back: what seems to begin in the future would be refused by whoever has the right time.
    const isUnusable = active === undefined || nowMs < active.issuedAtMs - BACKDATE_MS;
    if (!isUnusable && nowMs < preparationAtMs(active)) return;
    const prepared = await this.publish(this.#ledger.newest(kind, 'prepared') ?? (await this.create(kind)));
    const settledMs = nowMs - (prepared.publishedAtMs ?? nowMs);
    if (isUnusable || (nowMs >= activationAtMs(active) && settledMs >= settlingMs(active))) await this.activate(prepared);
  }

  /** What has ended never signs again, also when the clock is set back later. */
  async #retireExpired(kind: AuthorityKind, nowMs: number): Promise<void> {
    await this.#ledger.change((authority) => {
      const hasEnded = nowMs >= authority.expiresAtMs || this.#ended.has(authority.id);
      if (authority.kind !== kind || !hasEnded) return authority;
      if (authority.status === 'active') return { ...authority, status: 'old' };
      const isForgotten = authority.status === 'prepared' || nowMs >= authority.expiresAtMs + PRUNE_AFTER_MS;
      return isForgotten ? undefined : authority;
    });
    if (this.#ledger.newest(kind, 'active') === undefined) this.#signing.delete(kind);
    const used = this.#usedKeys();
    for (const keyId of this.#keys.keys()) if (!used.has(keyId)) await this.#forgetKey({ keyId }).catch(() => undefined);
  }

  async #publishTaints(kind: AuthorityKind): Promise<void> {
    const waiting = this.#ledger.authorities.filter((each) => each.kind === kind && each.tainted && !each.revoked);
    for (const authority of waiting) await this.publish(authority);
  }

  /** Makes the next authority, in place of one that was prepared before. Not published yet. */
  async create(kind: AuthorityKind): Promise<LocalAuthority> {
    const { keys, log } = this.#options;
    const keyId = `${kind}-${this.#ledger.replicaId}-${randomBytes(6).toString('hex')}`;
    const replaced = this.#ledger.newest(kind, 'prepared');
    const type = kind === 'x509' ? this.#options.x509KeyType : this.#options.tokenKeyType;
    const key = await keys.create(keyId, type ?? 'ec-p256');
    try {
      const made = await this.#createWith(kind, key);
      await this.#ledger.change((each) => (each === replaced ? undefined : each), made);
      this.#keys.set(keyId, key);
      log.info({ kind, authorityId: made.id, expiresAt: new Date(made.expiresAtMs).toISOString() }, 'authority prepared');
      return made;
    } catch (error) {
      // It is tried again and again: keys that nothing needs must not pile up.
      await keys.delete(keyId).catch(() => undefined);
      throw error;
    } finally {
      if (replaced !== undefined && this.#keys.has(keyId)) await this.#forgetKey(replaced).catch(() => undefined);
    }
  }

  async #createWith(kind: AuthorityKind, key: SigningKey): Promise<LocalAuthority> {
    const { clock, trustDomain, lifetimeMs, upstream, bundle } = this.#options;
    const options = { trustDomain, key, nowMs: clock.nowMs(), lifetimeMs };
    if (kind === 'x509') return createX509Authority({ ...options, upstream });
    return createTokenAuthority(kind, createKeyId(new Set(bundle.list().map(({ id }) => id))), options);
  }

  /** Puts into the bundle what is not in it yet. An upstream root that was tainted stays so. */
  async publish(authority: LocalAuthority): Promise<LocalAuthority> {
    if (authority.publishedAtMs !== undefined) return authority;
    for (const part of bundlePartsOf(authority, this.#ledger.replicaId)) {
      const present = this.published(part.kind, part.id);
      const tainted = part.tainted || (present?.tainted ?? false);
      if (present === undefined || present.tainted !== tainted) await this.#options.bundle.publish({ ...part, tainted });
    }
    return this.#ledger.update(authority, { publishedAtMs: this.#options.clock.nowMs() });
  }

  /** Lets a published authority sign; the one before it becomes old. */
  async activate(prepared: LocalAuthority): Promise<LocalAuthority> {
    const { kind, id } = prepared;
    const signing = signingAuthorityOf(prepared, this.#keyOf(prepared));
    const former = this.#ledger.newest(kind, 'active');
    const active = { ...prepared, status: 'active' } as const;
    await this.#ledger.change((each) => (each === former ? { ...each, status: 'old' } : each === prepared ? active : each));
    this.#signing.set(kind, signing);
    this.#options.log.info({ kind, authorityId: id }, 'authority activated');
    // It will not sign again, so its key is better gone; what fails here is made up for at the next start.
    if (former !== undefined) await this.#forgetKey(former).catch(() => undefined);
    return active;
  }

  async #forgetKey({ keyId }: Pick<LocalAuthority, 'keyId'>): Promise<void> {
    this.#keys.delete(keyId);
    await this.#options.keys.delete(keyId);
  }

  /** The end of a revoked authority; also for one that is not of this replica. */
  async removeFromBundle(kind: AuthorityKind, id: string): Promise<void> {
    await this.#options.bundle.remove(kind, id);
    await this.#ledger.change((each) => (each.kind === kind && each.id === id && each.revoked ? undefined : each));
  }
}
