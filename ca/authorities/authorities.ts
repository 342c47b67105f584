import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { KeyAlgorithm, KeyStore } from '../keys/key-store.ts';
import type { AuthorityKind } from '../model.ts';
import type {
  AuthorityBundle,
  AuthorityState,
  AuthorityStates,
  TokenSigningAuthority,
  X509SigningAuthority,
} from './authority.ts';

/** PEM files of the root that this CA's X.509 authorities are intermediates of. */
export interface UpstreamFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** The roots, when `certFile` is not itself one. */
  readonly bundleFile?: string | undefined;
}

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
  /** Of JWT and WIT authorities; `ec-p256` unless given. */
  readonly tokenKeyType?: KeyAlgorithm | undefined;
  readonly upstream?: UpstreamFiles | undefined;
}

/**
 * The authorities of this replica and their life: prepared, active, old; tainted and revoked. Errors carry SPIRE's codes for
 * `localauthority.v1`.
 *
 * @example
 * await using authorities = await Authorities.open({ trustDomain, dataDir, keys, bundle, clock, log, lifetimeMs });
 * authorities.activeX509().certificateDer;
 */
export class Authorities implements AsyncDisposable {
  /**
   * Reads the state that `dataDir` holds, publishes what is not published, makes and activates what is missing, and from then
   * on rotates by the clock until disposed.
   *
   * @throws IdentityError `unavailable` when the bundle cannot be written, `failed_precondition` when a key or file must not be used
   */
  static open(options: AuthoritiesOptions): Promise<Authorities> {
    throw new IdentityError('unimplemented', `not built yet ${options.dataDir}`);
  }

  /** Names this replica in published authorities; made once, kept in `dataDir`. */
  readonly replicaId: string = '';
  /** Whether X.509 authorities are intermediates under an upstream root. */
  readonly hasUpstream: boolean = false;
  /** Subject key identifiers (hexadecimal) of tainted X.509 authorities: whatever chains to one is to be replaced. */
  get taintedX509(): Source<ReadonlySet<string>> {
    throw new IdentityError('unimplemented', 'not built yet');
  }

  /** The X.509 authority that signs now. @throws IdentityError `unavailable` when there is none that is in force */
  activeX509(): X509SigningAuthority {
    throw new IdentityError('unimplemented', 'not built yet');
  }

  /** The token authority that signs now. @throws IdentityError `unavailable` when there is none that is in force */
  activeToken(kind: 'jwt' | 'wit'): TokenSigningAuthority {
    throw new IdentityError('unimplemented', `not built yet ${kind}`);
  }

  /** For Get…AuthorityState. @throws IdentityError `unavailable` before there is an active one */
  states(kind: AuthorityKind): AuthorityStates {
    throw new IdentityError('unimplemented', `not built yet ${kind}`);
  }

  /** For Prepare…Authority: makes and publishes the next authority, replacing one that was prepared before. @throws IdentityError `unavailable`, `internal` */
  prepare(kind: AuthorityKind): Promise<AuthorityState> {
    throw new IdentityError('unimplemented', `not built yet ${kind}`);
  }

  /**
   * For Activate…Authority: the prepared authority signs from now on.
   *
   * @throws IdentityError `invalid_argument` (no ID, or not the prepared authority's), `internal` (it is an old one)
   */
  activate(kind: AuthorityKind, authorityId: string): Promise<AuthorityState> {
    throw new IdentityError('unimplemented', `not built yet ${kind} ${authorityId}`);
  }

  /**
   * For Taint…Authority: an old authority is no longer to be relied on; what it signed is replaced everywhere.
   *
   * @throws IdentityError `invalid_argument` (no ID, active, prepared or unknown), `failed_precondition` (X.509 under an upstream
   *   root), `internal` (already tainted)
   */
  taint(kind: AuthorityKind, authorityId: string): Promise<AuthorityState> {
    throw new IdentityError('unimplemented', `not built yet ${kind} ${authorityId}`);
  }

  /**
   * For Revoke…Authority: takes an old, tainted authority out of the bundle for good.
   *
   * @throws IdentityError `invalid_argument` (no ID, active, prepared or unknown), `failed_precondition` (X.509 under an upstream
   *   root), `internal` (not tainted)
   */
  revoke(kind: AuthorityKind, authorityId: string): Promise<AuthorityState> {
    throw new IdentityError('unimplemented', `not built yet ${kind} ${authorityId}`);
  }

  /**
   * For TaintX509UpstreamAuthority; answers with the ID in lower case.
   *
   * @throws IdentityError `failed_precondition` (no upstream), `invalid_argument` (no ID, the active authority's, or not the old one's)
   */
  taintUpstream(subjectKeyId: string): Promise<string> {
    throw new IdentityError('unimplemented', `not built yet ${subjectKeyId}`);
  }

  /** For RevokeX509UpstreamAuthority; as {@link taintUpstream}, and `internal` when it is not tainted. */
  revokeUpstream(subjectKeyId: string): Promise<string> {
    throw new IdentityError('unimplemented', `not built yet ${subjectKeyId}`);
  }

  /** Why the CA cannot sign now, or will soon not be able to; undefined when all is well. For readiness. */
  fault(): string | undefined {
    throw new IdentityError('unimplemented', 'not built yet');
  }

  /** Stops rotation. */
  [Symbol.asyncDispose](): Promise<void> {
    throw new IdentityError('unimplemented', 'not built yet');
  }
}
