import { sleep, type Clock } from '../../core/clock.ts';
import { Current, type Source } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Logger } from '../log.ts';
import type { KubeClient } from './client.ts';
import { createLease, readLease, replaceLease, type LeaseRecord, type StoredLease } from './lease.ts';
import type { KubeMetrics } from './metrics.ts';
import type { ObjectName } from './object.ts';
import { microTime } from './time.ts';

/** What {@link LeaderElection} needs. */
export interface LeaderElectionOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  /** Name of the Lease. */
  readonly name: string;
  /** This candidate, never that of another or of an earlier process: the pod's name and something random. */
  readonly identity: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: KubeMetrics;
  /** How long others leave a holder alone that does not renew; 15 s unless given. */
  readonly leaseDurationMs?: number;
  /** How long a holder leads without having renewed; 10 s unless given, less than the lease. */
  readonly renewDeadlineMs?: number;
  /** Between two attempts to renew, or to take over; 2 s unless given. */
  readonly retryPeriodMs?: number;
  readonly random?: () => number;
}

/** Work of the leader. It ends soon after the signal aborts, and has no effect afterwards. */
export type Lead = (signal: AbortSignal) => Promise<void>;

const STOPPED_IN_TIME_MARGIN = 'leading was ended, because the lease could not be renewed in time';

/**
 * Chooses one leader among several processes by a Lease that each writes only if it is as it was read.
 *
 * Clocks need not agree: a candidate takes over when it has seen the Lease unchanged for its whole duration by its own
 * monotonic clock. The holder counts from before it sent its last successful renewal, and stops after `renewDeadlineMs`;
 * others count from after they saw it. So there are at least `leaseDurationMs - renewDeadlineMs` between the abort of the
 * leader's signal and the moment when somebody else can lead.
 *
 * @example
 * await new LeaderElection({ client, namespace, name: 'countersign-controller', identity, clock, log }).run(reconcile, signal);
 */
export class LeaderElection {
  readonly #options: LeaderElectionOptions;
  readonly #name: ObjectName;
  readonly #durationMs: number;
  readonly #deadlineMs: number;
  readonly #retryMs: number;
  readonly #leading = new Current(false);
  readonly #holder = new Current('');
  #seen: StoredLease | undefined;
  /** When the present record was first seen, monotonic. */
  #seenAtMs = 0;
  /** Before the last successful write was sent, monotonic. */
  #renewedAtMs = 0;

  /** @throws IdentityError `invalid_argument` when the times do not fit each other */
  constructor(options: LeaderElectionOptions) {
    this.#options = options;
    this.#name = { namespace: options.namespace, name: options.name };
    this.#durationMs = options.leaseDurationMs ?? 15_000;
    this.#deadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryMs = options.retryPeriodMs ?? 2_000;
    if (this.#durationMs <= this.#deadlineMs || this.#deadlineMs <= this.#retryMs * 1.2) {
      throw new IdentityError('invalid_argument', 'must be less than the lease and more than the retry period', {
        field: 'renewDeadlineMs',
      });
    }
  }

  /** Whether this process leads. */
  get leading(): Source<boolean> {
    return this.#leading;
  }

  /** Who held the Lease when it was last seen; empty when nobody did. */
  get holder(): Source<string> {
    return this.#holder;
  }

  /**
   * Stands for election until the signal aborts, and leads whenever it is elected. On abort the work is ended first, then the
   * Lease is given back, so that another takes over at once.
   *
   * @throws whatever `lead` fails with while it leads; the Lease has then been given back
   */
  async run(lead: Lead, signal: AbortSignal): Promise<void> {
    while (await this.#acquire(signal)) {
      this.#changed(true);
      try {
        const done = await this.#leadWhileHeld(lead, signal);
        if (done) return;
      } finally {
        this.#changed(false);
        await this.#release();
      }
    }
  }

  /** Tries until elected; false when the signal aborted. */
  async #acquire(signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      if (await this.#attempt(this.#deadlineMs, signal)) return true;
      await this.#pause(signal);
    }
    return false;
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const { clock, random = Math.random } = this.#options;
    await sleep(clock, this.#retryMs * (1 + random() * 0.2), signal).catch(() => {});
  }

  /** Leads until the work ends or the Lease is lost. True when nothing is left to do. */
  async #leadWhileHeld(lead: Lead, signal: AbortSignal): Promise<boolean> {
    const work = new AbortController();
    const ended = new AbortController();
    const onAbort = (): void => work.abort(signal.reason);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    const working = lead(work.signal).finally(() => ended.abort());
    // The outcome is looked at below; it must not count as unhandled until then.
    working.catch(() => {});
    try {
      const lost = await this.#renew(work, ended.signal);
      await working;
      return !lost;
    } catch (error) {
      if (!work.signal.aborted) throw error;
      if (error !== work.signal.reason) this.#options.log.warn({ err: error }, 'work of the leader ended with an error');
      return signal.aborted;
    } finally {
      signal.removeEventListener('abort', onAbort);
      // Work of several parts may have failed in one of them: the others must not go on without the lease.
      work.abort(new IdentityError('aborted', 'leading has ended'));
    }
  }

  /** Renews until the work has ended, also while it is ending; aborts the work when the Lease is lost. True when it was. */
  async #renew(work: AbortController, ended: AbortSignal): Promise<boolean> {
    const { clock, identity } = this.#options;
    const lost = new AbortController();
    const lose = (): void => {
      const reason = new IdentityError('aborted', STOPPED_IN_TIME_MARGIN);
      work.abort(reason);
      lost.abort(reason);
    };
    const stop = AbortSignal.any([ended, lost.signal]);
    const arm = (): { cancel(): void } => clock.setTimer(this.#renewedAtMs + this.#deadlineMs - clock.monotonicMs(), lose);
    let deadline = arm();
    while (!stop.aborted) {
      await this.#pause(stop);
      if (stop.aborted) break;
      const held = await this.#attempt(this.#renewedAtMs + this.#deadlineMs - clock.monotonicMs(), stop);
      if (this.#seen !== undefined && this.#seen.record.holder !== identity) lose();
      if (!held || lost.signal.aborted) continue;
      deadline.cancel();
      deadline = arm();
    }
    deadline.cancel();
    return lost.signal.aborted;
  }

  /** One attempt to hold the Lease; whether it is held now. Never throws. */
  async #attempt(timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    try {
      return await this.#acquireOrRenew({ timeoutMs: Math.max(1, timeoutMs), signal });
    } catch (error) {
      if (!signal.aborted)
        this.#options.log.warn({ err: error, lease: this.#options.name }, 'lease could not be read or written');
      return false;
    }
  }

  async #acquireOrRenew(call: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<boolean> {
    const { client, clock, identity } = this.#options;
    const startMs = clock.monotonicMs();
    // The holder need not read first: nobody writes while it is valid, and if somebody did, the write fails.
    if (this.#seen?.record.holder === identity && (await this.#write(this.#seen, startMs, call))) return true;
    const found = await readLease(client, this.#name, call);
    this.#see(found);
    if (found !== undefined && found.record.holder !== identity) {
      // Somebody else may have led meanwhile: this term is over, even if the lease could be had again.
      if (this.#leading.value || this.#isValid(found.record)) return false;
    }
    return this.#write(found, clock.monotonicMs(), call);
  }

  #isValid({ holder, durationMs }: LeaseRecord): boolean {
    return holder !== '' && this.#options.clock.monotonicMs() < this.#seenAtMs + durationMs;
  }

  async #write(
    before: StoredLease | undefined,
    startMs: number,
    call: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<boolean> {
    const { client } = this.#options;
    const record = this.#recordAfter(before?.record);
    const written = await (before === undefined
      ? createLease(client, this.#name, record, call)
      : replaceLease(client, before, record, call));
    if (written === undefined) return false;
    this.#renewedAtMs = startMs;
    this.#see(written);
    return true;
  }

  #recordAfter(before: LeaseRecord | undefined): LeaseRecord {
    const { identity, clock } = this.#options;
    const now = microTime(clock.nowMs());
    const kept = before?.holder === identity;
    return {
      holder: identity,
      durationMs: this.#durationMs,
      acquireTime: kept ? before.acquireTime : now,
      renewTime: now,
      transitions: (before?.transitions ?? 0) + (kept || before === undefined ? 0 : 1),
    };
  }

  /** Notes a record; its time counts from when it was first seen, whatever it says itself. */
  #see(lease: StoredLease | undefined): void {
    const version = lease?.object.metadata.resourceVersion;
    if (lease === undefined || version !== this.#seen?.object.metadata.resourceVersion) {
      this.#seenAtMs = this.#options.clock.monotonicMs();
    }
    this.#seen = lease;
    this.#holder.set(lease?.record.holder ?? '');
  }

  #changed(leads: boolean): void {
    const { log, name, identity, metrics } = this.#options;
    this.#leading.set(leads);
    log.info({ lease: name, identity }, leads ? 'elected as leader' : 'no longer leader');
    metrics?.leader.inc({ change: leads ? 'won' : 'lost' });
  }

  /** Gives the Lease back if it is still ours. */
  async #release(): Promise<void> {
    const { client, clock, identity, log } = this.#options;
    const lease = this.#seen;
    if (lease?.record.holder !== identity) return;
    this.#seen = undefined;
    const record = { ...lease.record, holder: '', durationMs: 1000, renewTime: microTime(clock.nowMs()) };
    try {
      await replaceLease(client, lease, record, { timeoutMs: this.#retryMs });
    } catch (error) {
      log.warn({ err: error, lease: this.#options.name }, 'lease could not be given back; another takes over when it runs out');
    }
  }
}
