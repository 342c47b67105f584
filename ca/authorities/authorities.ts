import { join } from 'node:path';
import { Current, type Source } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import { openDir } from '../../runtime/private-file.ts';
import type { Authority, AuthorityKind } from '../model.ts';
import { AuthorityLife, type AuthoritiesOptions } from './authority-life.ts';
import {
  AUTHORITY_KINDS,
  BUNDLE_KINDS,
  type AuthorityState,
  type AuthorityStates,
  type TokenKind,
  type TokenSigningAuthority,
  type X509SigningAuthority,
} from './authority.ts';
import { Ledger } from './ledger.ts';
import { stateOf, type LocalAuthority } from './local-authority.ts';
import { PollLoop } from './poll-loop.ts';
import { ExpiredAuthorities } from './prune.ts';
import { activationAtMs, pollMs } from './rotation.ts';
import { checkActivation, checkRevocation, checkTainting, checkUpstream } from './transitions.ts';

export type { AuthoritiesOptions } from './authority-life.ts';

/**
 * The authorities of this replica and their life: prepared, active, old; tainted and revoked. Errors carry SPIRE's codes for
 * `localauthority.v1`. Every step is written to `dataDir` before it has effect, so that a crash between any two of them is
 * picked up at the next start.
 *
 * @example
 * await using authorities = await Authorities.open({ trustDomain, dataDir, keys, bundle, clock, log, lifetimeMs });
 * authorities.activeX509().certificateDer;
 */
export class Authorities implements AsyncDisposable {
  readonly #options: AuthoritiesOptions;
  readonly #ledger: Ledger;
  readonly #life: AuthorityLife;
  readonly #faults = new Map<AuthorityKind, string>();
  readonly #tainted = new Current<ReadonlySet<string>>(new Set());
  readonly #expired = new ExpiredAuthorities();
  readonly #loop: PollLoop;
  /** The end of the last operation: they run one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(options: AuthoritiesOptions, ledger: Ledger) {
    this.#options = options;
    this.#ledger = ledger;
    this.#life = new AuthorityLife(options, ledger);
    this.#loop = new PollLoop({
      clock: options.clock,
      intervalMs: pollMs(options.lifetimeMs),
      work: () => this.#inTurn(() => this.#rotateAll()),
      onError: (error) => options.log.error({ err: error }, 'authorities cannot be rotated'),
    });
  }

  /**
   * Reads the state that `dataDir` holds, publishes what is not published, makes and activates what is missing, and from then
   * on rotates by the clock until disposed.
   *
   * @throws IdentityError `unavailable` when the bundle cannot be written, `failed_precondition` when a key or file must not be used
   */
  static async open(options: AuthoritiesOptions): Promise<Authorities> {
    await openDir(options.dataDir);
    const authorities = new Authorities(options, await Ledger.open(join(options.dataDir, 'authorities.json')));
    try {
      await authorities.#inTurn(async () => {
        await authorities.#life.resume();
        await authorities.#rotateAll();
        await authorities.#life.deleteOrphanKeys();
      });
      return authorities;
    } catch (error) {
      await authorities[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The kinds of authority that this CA has. */
  get kinds(): readonly AuthorityKind[] {
    return this.#options.exchange === true ? AUTHORITY_KINDS : BUNDLE_KINDS;
  }

  /** Names this replica in published authorities; made once, kept in `dataDir`. */
  get replicaId(): string {
    return this.#ledger.replicaId;
  }

  /** Whether X.509 authorities are intermediates under an upstream root. */
  get hasUpstream(): boolean {
    return this.#options.upstream !== undefined;
  }

  /** Subject key identifiers (hexadecimal) of tainted X.509 authorities in the bundle: what chains to one is to be replaced. */
  get taintedX509(): Source<ReadonlySet<string>> {
    return this.#tainted;
  }

  /** The X.509 authority that signs now. @throws IdentityError `unavailable` when there is none that is in force */
  activeX509(): X509SigningAuthority {
    const authority = this.#inForce('x509');
    if (authority?.kind === 'x509') return authority;
    throw new IdentityError('unavailable', 'no X.509 authority is in force: see the readiness of the CA');
  }

  /** The token authority that signs now. @throws IdentityError `unavailable` when there is none that is in force */
  activeToken(kind: TokenKind): TokenSigningAuthority {
    const authority = this.#inForce(kind);
    if (authority !== undefined && authority.kind !== 'x509') return authority;
    throw new IdentityError('unavailable', `no ${kind.toUpperCase()} authority is in force: see the readiness of the CA`);
  }

  /** For Get…AuthorityState. @throws IdentityError `unavailable` before there is an active one */
  states(kind: AuthorityKind): AuthorityStates {
    const { prepared, old } = { prepared: this.#ledger.newest(kind, 'prepared'), old: this.#ledger.newest(kind, 'old') };
    return {
      active: stateOf(this.#requireActive(kind)),
      prepared: prepared === undefined ? undefined : stateOf(prepared),
      old: old === undefined || old.expiresAtMs <= this.#options.clock.nowMs() ? undefined : stateOf(old),
    };
  }

  /** For Prepare…Authority: makes and publishes the next authority, replacing one that was prepared before. @throws IdentityError `unavailable`, `failed_precondition` */
  prepare(kind: AuthorityKind): Promise<AuthorityState> {
    return this.#inTurn(async () => {
      this.#requireActive(kind);
      return stateOf(await this.#life.publish(await this.#life.create(kind)));
    });
  }

  /**
   * For Activate…Authority: the prepared authority signs from now on.
   *
   * @throws IdentityError `invalid_argument` (no ID, or not the prepared authority's), `internal` (it is an old one), `unavailable`
   */
  activate(kind: AuthorityKind, authorityId: string): Promise<AuthorityState> {
    return this.#inTurn(async () => {
      const prepared = checkActivation({ id: authorityId, local: this.#ledger.find(kind, authorityId) });
      return stateOf(await this.#life.activate(await this.#life.publish(prepared)));
    });
  }

  /**
   * For Taint…Authority: an old authority is no longer to be relied on; what it signed is replaced everywhere.
   *
   * @throws IdentityError `invalid_argument` (no ID, active, prepared or unknown), `failed_precondition` (X.509 under an upstream
   *   root), `internal` (already tainted), `unavailable`
   */
  taint(kind: AuthorityKind, authorityId: string): Promise<AuthorityState> {
    return this.#inTurn(async () => {
      this.#refuseUnderUpstream(kind, 'tainted');
      const old = checkTainting({ id: authorityId, local: this.#ledger.find(kind, authorityId) });
      const tainted = await this.#life.publish(await this.#ledger.update(old, { tainted: true, publishedAtMs: undefined }));
      this.#options.log.info({ kind, authorityId }, 'authority tainted');
      this.#noteTainted();
      return stateOf(tainted);
    });
  }

  /**
   * For Revoke…Authority: takes an old, tainted authority out of the bundle for good.
   *
   * @throws IdentityError `invalid_argument` (no ID, active, prepared or unknown), `failed_precondition` (X.509 under an upstream
   *   root), `internal` (not tainted), `unavailable`
   */
  revoke(kind: AuthorityKind, authorityId: string): Promise<AuthorityState> {
    return this.#inTurn(async () => {
      this.#refuseUnderUpstream(kind, 'revoked');
      const local = this.#ledger.find(kind, authorityId);
      // SPIRE: an X.509 authority must be this CA's own; a key for tokens may be any in the bundle.
      const published = kind === 'x509' ? undefined : this.#life.published(kind, authorityId);
      const found = checkRevocation({ id: authorityId, local, published });
      if (local !== undefined) await this.#ledger.update(local, { revoked: true });
      await this.#life.removeFromBundle(kind, authorityId);
      this.#options.log.info({ kind, authorityId }, 'authority revoked');
      this.#noteTainted();
      if ('status' in found) return stateOf(found);
      return { authorityId, expiresAtSeconds: found.expiresAtSeconds, upstreamSubjectKeyId: '', tainted: true };
    });
  }

  /**
   * For TaintX509UpstreamAuthority; answers with the ID in lower case.
   *
   * @throws IdentityError `failed_precondition` (no upstream), `invalid_argument` (no ID, or not one that signed only old
   *   authorities), `internal` (not in the bundle, or already tainted), `unavailable`
   */
  taintUpstream(subjectKeyId: string): Promise<string> {
    return this.#inTurn(async () => {
      const root = this.#upstreamRoot(subjectKeyId);
      if (root.tainted) throw new IdentityError('internal', 'failed to taint: it is already tainted');
      await this.#options.bundle.publish({ ...root, tainted: true });
      this.#options.log.info({ subjectKeyId: root.id }, 'upstream authority tainted');
      this.#noteTainted();
      return root.id;
    });
  }

  /** For RevokeX509UpstreamAuthority; as {@link taintUpstream}, and `internal` when it is not tainted. */
  revokeUpstream(subjectKeyId: string): Promise<string> {
    return this.#inTurn(async () => {
      const root = this.#upstreamRoot(subjectKeyId);
      if (!root.tainted)
        throw new IdentityError('internal', 'failed to revoke: it is not possible to revoke an untainted authority');
      await this.#options.bundle.remove('x509', root.id);
      this.#options.log.info({ subjectKeyId: root.id }, 'upstream authority revoked');
      this.#noteTainted();
      return root.id;
    });
  }

  /** Why the CA cannot sign, or soon will not be able to; undefined when all is well. For readiness. */
  fault(): string | undefined {
    const nowMs = this.#options.clock.nowMs();
    for (const kind of this.kinds) {
      const reason = this.#faults.get(kind) ?? 'it is being made';
      const active = this.#ledger.newest(kind, 'active');
      if (active === undefined || active.expiresAtMs <= nowMs) return `no ${kind} authority is in force: ${reason}`;
      if (this.#faults.has(kind) && nowMs >= activationAtMs(active)) {
        return `the ${kind} authority ends at ${new Date(active.expiresAtMs).toISOString()} and cannot be replaced: ${reason}`;
      }
    }
    return undefined;
  }

  /** Stops rotation. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loop[Symbol.asyncDispose]();
    await this.#last;
  }

  /** Operations never overlap: each sees what the one before it left. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }

  #inForce(kind: AuthorityKind) {
    const authority = this.#life.inForce(kind);
    if (authority === undefined) this.#loop.wake();
    return authority;
  }

  #requireActive(kind: AuthorityKind): LocalAuthority {
    const active = this.#ledger.newest(kind, 'active');
    if (active !== undefined) return active;
    throw new IdentityError('unavailable', `the CA is initializing: it has no active ${kind} authority yet`);
  }

  #refuseUnderUpstream(kind: AuthorityKind, verb: string): void {
    if (kind !== 'x509' || !this.hasUpstream) return;
    throw new IdentityError(
      'failed_precondition',
      `a local authority can't be ${verb} under an upstream authority: name the upstream authority`,
    );
  }

  #upstreamRoot(subjectKeyId: string): Authority {
    if (!this.hasUpstream) throw new IdentityError('failed_precondition', 'no upstream authority is configured');
    const id = checkUpstream(subjectKeyId, this.#ledger.authorities);
    const root = this.#life.published('x509', id);
    if (root === undefined) throw new IdentityError('internal', 'the upstream authority is not in the bundle');
    return root;
  }

  async #rotateAll(): Promise<void> {
    const failures: unknown[] = [];
    for (const kind of this.kinds) {
      try {
        await this.#life.rotate(kind);
        this.#faults.delete(kind);
      } catch (error) {
        this.#faults.set(kind, error instanceof Error ? error.message : 'unknown reason');
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
    await this.#prune();
    this.#noteTainted();
  }

  async #prune(): Promise<void> {
    const { bundle, clock, log } = this.#options;
    const time = { nowMs: clock.nowMs(), monotonicMs: clock.monotonicMs() };
    for (const { kind, id } of this.#expired.collect(bundle.list(), time)) {
      await bundle.remove(kind, id);
      log.info({ kind, authorityId: id }, 'expired authority removed from the bundle');
    }
  }

  #noteTainted(): void {
    const tainted = this.#options.bundle.list().filter((each) => each.kind === 'x509' && each.tainted);
    const ids = new Set(tainted.map(({ id }) => id));
    const before = this.#tainted.value;
    if (ids.size !== before.size || [...ids].some((id) => !before.has(id))) this.#tainted.set(ids);
  }
}
