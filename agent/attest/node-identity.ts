import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import { Current, type Source } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import type { ListenAddress } from '../../runtime/config-file.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import type { Logger } from '../../runtime/log.ts';
import { Bundle } from '../../spiffe/bundle.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { isSignedByTainted } from '../cache/tainted.ts';
import { Lifetime } from '../../runtime/lifetime.ts';
import { readBundle } from '../sync/from-wire.ts';
import type { AgentSvid } from './agent-svid.ts';
import { attestAgent, renewAgent } from './attest-agent.ts';
import { connectToCa } from '../../runtime/ca-connection.ts';
import { denialOf } from './denial.ts';
import type { NodeAttestor } from './node-attestor.ts';
import type { StateFile } from './state-file.ts';
import { isPassing } from '../../runtime/passing-failure.ts';

/** What {@link NodeIdentity} is made from. */
export interface NodeIdentityOptions {
  readonly trustDomain: TrustDomain;
  readonly server: ListenAddress;
  readonly attestor: NodeAttestor;
  /** The bundle to trust first; undefined trusts whoever answers (insecure bootstrap). Asked only when none is saved. */
  readonly bootstrap: (signal: AbortSignal) => Promise<Bundle | undefined>;
  readonly state: StateFile;
  readonly clock: Clock;
  readonly log: Logger;
}

// A renewal that is not due yet is looked at this often, so that a step of the wall clock is noticed.
const CHECK_INTERVAL_MS = 30_000;
// A CA that renews with an authority that it has itself declared tainted is not asked without pause.
const MIN_INTERVAL_MS = 5_000;
const GET_BUNDLE_TIMEOUT_MS = 30_000;

/**
 * Who this agent is: its SVID, attested once, renewed at half life and kept over restarts, and the bundle that it trusts.
 *
 * @example
 * const node = new NodeIdentity(options);
 * await node.start(signal);
 * void node.keepRenewed(signal);
 * node.connection.client(Entry);
 */
export class NodeIdentity implements AsyncDisposable {
  readonly #options: NodeIdentityOptions;
  readonly #svid = new Current<AgentSvid | undefined>(undefined);
  readonly #bundle = new Current<Bundle | undefined>(undefined);
  #lifetime: Lifetime | undefined;
  // What a restart resumes with.
  #newest: AgentSvid | undefined;
  #reattesting: Promise<void> | undefined;
  /** Why the CA has taken the identity away for good. */
  #lost: IdentityError | undefined;
  #wake: () => void = () => {};
  /** The connection to the CA that proves this identity; made when first needed. */
  readonly connection: GrpcConnection;

  constructor(options: NodeIdentityOptions) {
    this.#options = options;
    const { server: target, trustDomain, clock } = options;
    this.connection = connectToCa({ target, trustDomain, clock, bundle: () => this.bundle.value, svid: () => this.#svid.value });
  }

  /** The SVID; undefined until attested. */
  get svid(): Source<AgentSvid | undefined> {
    return this.#svid;
  }

  /** The bundle of the agent's trust domain; undefined until attested. */
  get bundle(): Source<Bundle | undefined> {
    return this.#bundle;
  }

  /**
   * Resumes with the saved SVID or attests; while the CA is out of reach it keeps trying.
   *
   * @throws IdentityError when the CA refuses this node, or something on this side is missing: trying again would not help
   */
  async start(signal: AbortSignal): Promise<void> {
    const { state, log, clock } = this.#options;
    const saved = await state.load();
    if (saved !== undefined) this.#bundle.set(saved.bundle);
    const svid = saved?.svid;
    if (svid !== undefined && svid.leaf.notAfterMs > clock.nowMs()) {
      await this.#adopt(svid, svid.leaf.notBeforeMs);
      log.info({ spiffeId: svid.id.toString() }, 'agent resumed');
      return;
    }
    // What was saved may be so old that the CA has other authorities by now, so the bootstrap bundle counts again as well.
    const bootstrap = await this.#persistently(() => this.#options.bootstrap(signal), signal);
    this.#bundle.set(
      saved === undefined || bootstrap === undefined ? (bootstrap ?? saved?.bundle) : merge(saved.bundle, bootstrap),
    );
    await this.#persistently(() => this.#attest(signal), signal);
  }

  /** Renews the SVID for as long as the agent runs. @throws IdentityError when the CA takes the identity away for good */
  async keepRenewed(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#untilDue(signal);
      // As long as the SVID is valid, only the loss of the identity ends the attempts.
      await this.#persistently(
        () => this.#renew(signal),
        signal,
        () => this.#lost === undefined,
      );
      await sleep(this.#options.clock, MIN_INTERVAL_MS, signal);
    }
  }

  /** Uses a newer bundle of the trust domain, as it comes with synchronisation; a tainted SVID is renewed at once. */
  updateBundle(bundle: Bundle): void {
    // Without an authority the agent could never find its CA again.
    if (bundle === this.#bundle.value || bundle.x509Authorities.length === 0) return;
    this.#bundle.set(bundle);
    void this.#save();
    if (this.#isTainted()) this.#wake();
  }

  /**
   * Draws the consequence of a denial by the CA: attests again where that can help.
   *
   * @returns whether the error was such a denial, and the agent is in order again
   * @throws IdentityError `permission_denied` when the agent is banned or cannot attest again
   */
  async recover(error: unknown, signal: AbortSignal): Promise<boolean> {
    const denial = denialOf(error);
    if (denial === undefined) return false;
    if (denial === 'banned') throw await this.#giveUp('the CA has banned this agent; an operator has to lift that', error);
    await this.#reattest(signal);
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.connection[Symbol.dispose]();
    await this.#options.state.settled();
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const present = this.#svid.value;
    // One that can attest again does so: the CA then sees the node's selectors of today, as with SPIRE.
    if (this.#lifetime?.isExpired(this.#options.clock)) return this.#reattest(signal);
    if (present === undefined || present.reattestable) return this.#attest(signal);
    try {
      await this.#adopt(await renewAgent(this.connection, present, signal));
      this.#options.log.info({ spiffeId: present.id.toString() }, 'agent svid renewed');
    } catch (error) {
      if (await this.recover(error, signal)) return;
      throw error;
    }
  }

  /** Attests anew because the present SVID is of no more use; once, whoever asks for it meanwhile. */
  #reattest(signal: AbortSignal): Promise<void> {
    this.#reattesting ??= this.#attestAgain(signal).finally(() => (this.#reattesting = undefined));
    return this.#reattesting;
  }

  async #attestAgain(signal: AbortSignal): Promise<void> {
    this.#options.log.warn({ spiffeId: this.#svid.value?.id.toString() }, 'the ca no longer accepts this agent; attesting again');
    try {
      await this.#persistently(() => this.#attest(signal), signal);
    } catch (cause) {
      if (signal.aborted) throw cause;
      const why = 'the CA no longer accepts this agent (evicted or expired) and attesting again failed';
      throw await this.#giveUp(`${why}: ${toIdentityError(cause).message}; give it a new join token or certificate`, cause);
    }
  }

  async #attest(signal: AbortSignal): Promise<void> {
    const { server: target, trustDomain, clock, attestor, log } = this.#options;
    if (this.#bundle.value === undefined) log.warn('insecure bootstrap: the ca is not verified');
    const bundle = (): Bundle | undefined => this.#bundle.value;
    using connection = connectToCa({ target, trustDomain, clock, bundle, svid: () => undefined });
    const svid = await attestAgent(connection, attestor, signal);
    // From here on nothing may fail that would have the agent attest again: a join token works once.
    if (this.#bundle.value !== undefined) await this.#adopt(svid);
    const options = { signal, timeoutMs: GET_BUNDLE_TIMEOUT_MS };
    const response = await this.#persistently(() => connection.client(BundleService).getBundle({}, options), signal);
    this.#bundle.set(readBundle(response, trustDomain));
    await this.#adopt(svid);
    log.info({ spiffeId: svid.id.toString(), attestor: attestor.type }, 'agent attested');
  }

  // The CA forgets the SVID before as soon as this one is used: killed in between, the agent must come back with this one.
  // The CA dates certificates back a little, and half of a short life must not be over when it begins, so a new one lives from
  // now on; one from before a restart does not, else an agent that restarts often would never renew it.
  async #adopt(svid: AgentSvid, notBeforeMs = this.#options.clock.nowMs()): Promise<void> {
    this.#newest = svid;
    await this.#save();
    const { clock } = this.#options;
    this.#lifetime = new Lifetime({ notBeforeMs, expiresAtMs: svid.leaf.notAfterMs }, clock, Math.random());
    this.#svid.set(svid);
    this.connection.renew();
  }

  // An agent whose disk fails goes on: only its restart will suffer.
  async #save(): Promise<void> {
    const bundle = this.#bundle.value;
    if (bundle === undefined) return;
    const { state, log } = this.#options;
    try {
      await state.save({ bundle, svid: this.#newest });
    } catch (err) {
      log.error({ err }, 'state of the agent not saved');
    }
  }

  async #giveUp(message: string, cause: unknown): Promise<IdentityError> {
    this.#svid.set(undefined);
    this.#newest = undefined;
    await this.#save();
    this.#lost = new IdentityError('permission_denied', message, { cause });
    return this.#lost;
  }

  #isTainted(): boolean {
    const svid = this.#svid.value;
    const bundle = this.#bundle.value;
    return svid !== undefined && bundle !== undefined && isSignedByTainted(svid.chainDer, bundle);
  }

  async #untilDue(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (this.#lifetime !== undefined && !this.#lifetime.isDue(clock) && !this.#isTainted()) {
      const waiting = new AbortController();
      this.#wake = () => waiting.abort();
      const delayMs = Math.min(CHECK_INTERVAL_MS, this.#lifetime.dueInMs(clock));
      await sleep(clock, delayMs, AbortSignal.any([signal, waiting.signal])).catch(() => signal.throwIfAborted());
    }
  }

  /** Repeats what failed for a passing reason, with growing pauses. */
  async #persistently<T>(
    attempt: () => Promise<T>,
    signal: AbortSignal,
    passes: (error: IdentityError) => boolean = isPassing,
  ): Promise<T> {
    const backoff = new Backoff({ initialMs: 1_000, maxMs: 30_000 });
    for (;;) {
      try {
        return await attempt();
      } catch (thrown) {
        signal.throwIfAborted();
        const error = toIdentityError(thrown);
        if (!passes(error)) throw error;
        this.#options.log.warn({ err: error }, 'the ca did not answer as hoped; trying again');
        await sleep(this.#options.clock, backoff.nextMs(), signal);
      }
    }
  }
}

function merge(saved: Bundle, bootstrap: Bundle): Bundle {
  const { trustDomain } = saved;
  return new Bundle({ trustDomain, x509Authorities: [...saved.x509Authorities, ...bootstrap.x509Authorities] });
}
