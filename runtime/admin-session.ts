import { Backoff } from '../core/backoff.ts';
import { sleep, type Clock } from '../core/clock.ts';
import { Current, type Source } from '../core/current.ts';
import type { IdentityError } from '../core/errors.ts';
import { Bundle } from '../spiffe/bundle.ts';
import type { SpiffeId } from '../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import { logIn, mint, type AdminCredentials } from './admin-credentials.ts';
import { loadBootstrapBundle } from './bootstrap-bundle.ts';
import type { Bootstrap } from './bootstrap.ts';
import { followBundle } from './bundle-watch.ts';
import { connectToCa } from './ca-connection.ts';
import type { ListenAddress } from './config-file.ts';
import { connectGrpc, toIdentityError, type GrpcConnection } from './grpc-client.ts';
import type { InClusterEnvironment } from './kubernetes/access.ts';
import { Lifetime } from './lifetime.ts';
import type { Logger } from './log.ts';
import { isPassing } from './passing-failure.ts';

export type { AdminCredentials } from './admin-credentials.ts';

/** The CA's private socket: whoever may open it is trusted. Works with a SPIRE server too. */
export interface SocketTarget {
  readonly kind: 'socket';
  readonly path: string;
  /**
   * Mints an SVID of this ID and these DNS names for {@link AdminSession.credentials}, renewed at half life; without it the
   * session has none.
   */
  readonly mint?: { readonly spiffeId: SpiffeId; readonly dnsNames: readonly string[] } | undefined;
}

/** The CA's TLS listener: the session logs in with a service-account token. */
export interface LoginTarget {
  readonly kind: 'login';
  readonly address: ListenAddress;
  /** The projected token of audience `countersign-admin`; read anew at each login. */
  readonly tokenFile: string;
  /** As the CA's configuration calls the cluster; may be left out when there is only one. */
  readonly cluster?: string | undefined;
  /** The bundle that the CA is first verified by. */
  readonly bootstrap: Bootstrap;
}

/** How the CA is reached. */
export type AdminTarget = SocketTarget | LoginTarget;

/** What {@link openAdminSession} needs. */
export interface AdminSessionOptions {
  readonly ca: AdminTarget;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly log: Logger;
  /** Where the API server of this process's pod is, for a bootstrap from a ConfigMap. */
  readonly inCluster?: InClusterEnvironment | undefined;
  /** Ends the attempts to open the session. */
  readonly signal?: AbortSignal | undefined;
  /** Told of each failure until the session is open; from then on its `outage` says it. */
  readonly onOutage?: (error: IdentityError) => void;
}

/** A standing with the CA: its connection, and what is renewed in the background for as long as the session is open. */
export interface AdminSession extends AsyncDisposable {
  /** Calls over it are made with the SVID of the moment. */
  readonly connection: GrpcConnection;
  /** Undefined for a private socket without `mint`. */
  readonly credentials: Source<AdminCredentials | undefined>;
  /** Whether the CA is one of ours, which knows what a SPIRE server does not. */
  readonly isCountersign: boolean;
  /** Of the own trust domain; the newest that the CA told. */
  readonly bundle: Source<Bundle>;
  /** Why the CA cannot be reached at this moment, for readiness and logs; undefined while all is well. */
  readonly outage: Source<IdentityError | undefined>;
}

/**
 * Opens a session: logs in where that is configured and learns the bundle. While the CA is away it keeps trying.
 *
 * @throws IdentityError when the CA refuses the login, or something on this side is missing: trying again would not help
 * @example
 * await using session = await openAdminSession({ ca: { kind: 'socket', path }, trustDomain, clock, log });
 * const { entries } = await session.connection.client(Entry).listEntries({});
 */
export async function openAdminSession(options: AdminSessionOptions): Promise<AdminSession> {
  const session = new Session(options);
  try {
    await session.open();
    return session;
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

const RETRY = { initialMs: 500, maxMs: 10_000 };
// A renewal that is not due yet is looked at this often, so that a step of the wall clock is noticed.
const CHECK_INTERVAL_MS = 30_000;
// How long a failed login waits for a newer bootstrap bundle before it is tried again with the one there is.
const REBOOTSTRAP_MS = 5_000;

class Session implements AdminSession {
  readonly #options: AdminSessionOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #credentials = new Current<AdminCredentials | undefined>(undefined);
  // Without authorities until the CA or the bootstrap told some.
  readonly #bundle: Current<Bundle>;
  readonly #outage = new Current<IdentityError | undefined>(undefined);
  // What the bootstrap said, until the CA has been reached with it: only to verify the CA by, never handed on.
  #bootstrapped: Bundle | undefined;
  readonly #faults: { renewal?: IdentityError | undefined; bundle?: IdentityError | undefined } = {};
  readonly connection: GrpcConnection;
  #lifetime: Lifetime | undefined;
  #wake: () => void = () => {};
  #isOpen = false;
  #isCountersign = true;
  #background: Promise<unknown> = Promise.resolve();

  constructor(options: AdminSessionOptions) {
    const { ca, trustDomain, clock, signal } = options;
    this.#options = options;
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
    this.#bundle = new Current(new Bundle({ trustDomain }));
    this.connection =
      ca.kind === 'socket'
        ? connectGrpc({ target: { kind: 'unix', path: ca.path }, clock })
        : this.#connect(ca, this.#credentials);
  }

  get credentials(): Source<AdminCredentials | undefined> {
    return this.#credentials;
  }

  get isCountersign(): boolean {
    return this.#isCountersign;
  }

  get bundle(): Source<Bundle> {
    return this.#bundle;
  }

  get outage(): Source<IdentityError | undefined> {
    return this.#outage;
  }

  async open(): Promise<void> {
    const { ca } = this.#options;
    // Nothing would tell of an abort that came before.
    this.#signal.throwIfAborted();
    if (ca.kind === 'login') await this.#persistently(() => this.#bootstrap(ca, this.#signal));
    if (this.#hasCredentials) await this.#persistently(() => this.#renew());
    const known = Promise.withResolvers<void>();
    const following = this.#followBundle(known);
    this.#background = Promise.all([following, this.#hasCredentials ? this.#keepRenewed() : undefined]);
    // Nobody awaits it while the session is open; what fails in it is told by `outage`.
    this.#background.catch(() => {});
    await known.promise;
    this.#isOpen = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.connection[Symbol.dispose]();
    await this.#background.catch(() => {});
  }

  get #hasCredentials(): boolean {
    const { ca } = this.#options;
    return ca.kind === 'login' || ca.mint !== undefined;
  }

  #connect({ address: target }: LoginTarget, svid: Source<AdminCredentials | undefined> | undefined): GrpcConnection {
    const { trustDomain, clock } = this.#options;
    return connectToCa({ target, trustDomain, clock, bundle: () => this.#trusted(), svid: () => svid?.value });
  }

  /** What the CA is verified by; undefined for an insecure bootstrap that has not heard from it yet. */
  #trusted(): Bundle | undefined {
    const { ca, trustDomain } = this.#options;
    const authorities = [...this.#bundle.value.x509Authorities, ...(this.#bootstrapped?.x509Authorities ?? [])];
    if (authorities.length === 0 && ca.kind === 'login' && ca.bootstrap.kind === 'insecure') return undefined;
    return new Bundle({ trustDomain, x509Authorities: authorities });
  }

  /** Asks the bootstrap what to trust: at first, and after an outage in which the CA may have come to other authorities. */
  async #bootstrap({ bootstrap }: LoginTarget, signal: AbortSignal): Promise<void> {
    this.#bootstrapped = await loadBootstrapBundle(bootstrap, { ...this.#options, signal });
    if (this.#bootstrapped === undefined) this.#options.log.warn('insecure bootstrap: the ca is not verified');
  }

  async #renew(): Promise<void> {
    const { clock, log } = this.#options;
    const credentials = await this.#obtain();
    if (credentials === undefined) return;
    // The CA dates certificates back a little: half of the life that is left counts.
    this.#lifetime = new Lifetime({ notBeforeMs: clock.nowMs(), expiresAtMs: credentials.expiresAtMs }, clock, Math.random());
    this.#credentials.set(credentials);
    if (this.#options.ca.kind === 'login') this.connection.renew();
    this.#note('renewal', undefined);
    log.info({ spiffeId: credentials.spiffeId.toString() }, 'admin credentials obtained');
  }

  async #obtain(): Promise<AdminCredentials | undefined> {
    const { ca } = this.#options;
    const signal = this.#signal;
    if (ca.kind === 'socket') return ca.mint && mint({ connection: this.connection, signal }, ca.mint);
    // A connection of its own, without a certificate: the one before may have run out.
    using connection = this.#connect(ca, undefined);
    const { credentials, bundle } = await logIn({ connection, signal }, ca);
    this.#setBundle(bundle);
    this.#bootstrapped = undefined;
    return credentials;
  }

  async #keepRenewed(): Promise<void> {
    while (!this.#signal.aborted) {
      await this.#untilDue();
      // As long as the session is open it keeps trying, whatever the CA says: what it lacks may come.
      await this.#persistently(
        () => this.#renew(),
        () => true,
      );
    }
  }

  async #untilDue(): Promise<void> {
    const { clock } = this.#options;
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    while (this.#lifetime !== undefined && !this.#lifetime.isDue(clock) && !woken.signal.aborted) {
      const delayMs = Math.min(CHECK_INTERVAL_MS, this.#lifetime.dueInMs(clock));
      await sleep(clock, delayMs, AbortSignal.any([this.#signal, woken.signal])).catch(() => this.#signal.throwIfAborted());
    }
  }

  #followBundle(known: PromiseWithResolvers<void>): Promise<void> {
    const { ca, trustDomain, clock, log } = this.#options;
    let isKnown = false;
    const onBundle = (bundle: Bundle): void => {
      this.#setBundle(bundle);
      this.#bootstrapped = undefined;
      this.#note('bundle', undefined);
      isKnown = true;
      known.resolve();
    };
    const onOutage = (error: IdentityError): void => {
      if (!isKnown && !isPassing(error)) known.reject(error);
      if (this.#faults.bundle?.message !== error.message) log.warn({ err: error }, 'the ca cannot be followed; trying again');
      this.#note('bundle', error);
      // The SVID is no good any more, such as when its authority was revoked.
      if (error.code === 'unauthenticated') this.#wake();
      // Or it is the CA that is not trusted any more.
      else if (ca.kind === 'login') void this.#tryBootstrap(ca);
    };
    const onForeign = (): void => {
      this.#isCountersign = false;
    };
    this.#signal.addEventListener('abort', () => known.reject(this.#signal.reason), { once: true });
    return followBundle({ connection: this.connection, trustDomain, clock, onBundle, onForeign, onOutage, signal: this.#signal });
  }

  #setBundle(bundle: Bundle): void {
    // Without an authority the CA could never be verified again.
    if (bundle.x509Authorities.length > 0) this.#bundle.set(bundle);
  }

  #note(part: 'renewal' | 'bundle', fault: IdentityError | undefined): void {
    this.#faults[part] = fault;
    if (fault !== undefined && !this.#isOpen) this.#options.onOutage?.(fault);
    this.#outage.set(this.#faults.renewal ?? this.#faults.bundle);
  }

  async #persistently(attempt: () => Promise<void>, passes: (error: IdentityError) => boolean = isPassing): Promise<void> {
    const { clock, log, ca } = this.#options;
    const backoff = new Backoff(RETRY);
    for (;;) {
      try {
        return await attempt();
      } catch (thrown) {
        this.#signal.throwIfAborted();
        const error = toIdentityError(thrown);
        if (!passes(error)) throw error;
        this.#note('renewal', error);
        log.warn({ err: error }, 'the ca did not answer as hoped; trying again');
      }
      await sleep(clock, backoff.nextMs(), this.#signal);
      if (ca.kind === 'login') await this.#tryBootstrap(ca);
    }
  }

  async #tryBootstrap(ca: LoginTarget): Promise<void> {
    const timeout = new AbortController();
    const timer = this.#options.clock.setTimer(REBOOTSTRAP_MS, () => timeout.abort());
    try {
      await this.#bootstrap(ca, AbortSignal.any([this.#signal, timeout.signal]));
    } catch {
      // The bundle that is known has to do.
    } finally {
      timer.cancel();
    }
  }
}
