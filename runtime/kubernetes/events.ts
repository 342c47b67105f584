import { createHash } from 'node:crypto';

import { sleep, type Clock } from '../../core/clock.ts';
import { isIdentityError, type ErrorCode } from '../../core/errors.ts';
import type { Logger } from '../log.ts';
import type { KubeClient } from './client.ts';
import type { KubeMetrics } from './metrics.ts';
import type { KubeObject } from './object.ts';
import { EVENTS } from './resource-types.ts';
import { microTime } from './time.ts';

/** The object that an Event is about. */
export interface EventSubject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  /** Absent for what is not namespaced. */
  readonly namespace?: string;
  readonly uid: string;
}

/** Something that happened to an object, for whoever looks at it with `kubectl describe`. */
export interface KubeEvent {
  readonly regarding: EventSubject;
  readonly type: 'Normal' | 'Warning';
  /** Why, in UpperCamelCase, such as `TemplateFailed`; 128 characters at most. */
  readonly reason: string;
  /** What was done or attempted, in UpperCamelCase, such as `RenderIdentity`. */
  readonly action: string;
  /** What happened, for people; cut after 1,024 bytes. */
  readonly note: string;
  readonly related?: EventSubject;
}

/** What {@link EventRecorder} needs. */
export interface EventRecorderOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: KubeMetrics;
  /** Who reports, such as `countersign.dev/controller`. */
  readonly controller: string;
  /** Which of its processes, such as the pod's name. */
  readonly instance: string;
  /** Ends the recorder; what has not been written is dropped. */
  readonly signal: AbortSignal;
}

interface Series {
  readonly namespace: string;
  readonly name: string;
  count: number;
  lastMs: number;
  /** A write of the count is waiting. */
  queued: boolean;
  /** The Event itself has been written. */
  written: boolean;
}

interface Allowance {
  tokens: number;
  atMs: number;
}

/** Waiting writes; more are dropped. */
const MAX_QUEUED = 1_000;
/** Events that are remembered to be counted instead of written again, and objects whose rate is. */
const MAX_REMEMBERED = 10_000;
/** An Event that was not repeated for so long is a new one. */
const SERIES_ENDS_AFTER_MS = 6 * 60_000;
/** Each object may have this many Events at once, and one more each minute. */
const BURST_FOR_OBJECT = 10;
const REFILL_MS = 60_000;
const MAX_NOTE_BYTES = 1_024;
/** A count is written at most this often. */
const COUNT_EVERY_MS = 30_000;

/**
 * Writes Kubernetes Events (`events.k8s.io/v1`). It never blocks and never fails its caller: what is repeated is counted in
 * one Event's series, each object has a rate, and what cannot be written is dropped and counted.
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #series = new Map<string, Series>();
  readonly #allowances = new Map<string, Allowance>();
  readonly #queue: (() => Promise<void>)[] = [];
  #draining: Promise<void> | undefined;
  #dropped = 0;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** How many Events were dropped so far. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Records an Event; returns at once. */
  record(event: KubeEvent): void {
    const { clock } = this.#options;
    const key = keyOf(event);
    const known = this.#series.get(key);
    if (known !== undefined && clock.monotonicMs() - known.lastMs < SERIES_ENDS_AFTER_MS) {
      this.#repeat(event, known);
      return;
    }
    if (!this.#allows(event.regarding.uid)) {
      this.#drop();
      return;
    }
    const series = {
      namespace: event.regarding.namespace ?? 'default',
      name: `${event.regarding.name.slice(0, 200)}.${key.slice(0, 12)}${Math.floor(clock.nowMs()).toString(16)}`,
      count: 1,
      lastMs: clock.monotonicMs(),
      queued: false,
      written: false,
    };
    remember(this.#series, key, series);
    this.#enqueue(() => this.#create(event, series));
  }

  /** Settles when nothing is waiting to be written; for tests and for a graceful end. */
  async idle(): Promise<void> {
    while (this.#draining !== undefined) await this.#draining;
  }

  #repeat(event: KubeEvent, series: Series): void {
    const { clock } = this.#options;
    series.count += 1;
    series.lastMs = clock.monotonicMs();
    if (series.queued) return;
    series.queued = true;
    // Repetitions come in bursts: the count is written a little later, for all of them.
    clock.setTimer(COUNT_EVERY_MS, () => {
      series.queued = false;
      if (!this.#options.signal.aborted) this.#enqueue(() => this.#count(event, series));
    });
  }

  #allows(uid: string): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    const before = this.#allowances.get(uid) ?? { tokens: BURST_FOR_OBJECT, atMs: nowMs };
    const tokens = Math.min(BURST_FOR_OBJECT, before.tokens + (nowMs - before.atMs) / REFILL_MS);
    remember(this.#allowances, uid, { tokens: tokens >= 1 ? tokens - 1 : tokens, atMs: nowMs });
    return tokens >= 1;
  }

  #drop(): void {
    this.#dropped += 1;
    this.#options.metrics?.droppedEvents.inc();
  }

  #enqueue(write: () => Promise<void>): void {
    if (this.#options.signal.aborted || this.#queue.length >= MAX_QUEUED) return this.#drop();
    this.#queue.push(write);
    this.#draining ??= this.#drain().finally(() => {
      this.#draining = undefined;
    });
  }

  async #drain(): Promise<void> {
    const { signal, clock } = this.#options;
    for (let write = this.#queue.shift(); write !== undefined; write = this.#queue.shift()) {
      if (signal.aborted) return this.#drop();
      try {
        await write();
      } catch (error) {
        this.#failed(error);
        // The server is away or busy: the others would fail as well.
        if (!isRefusal(error)) await sleep(clock, 1_000, signal).catch(() => {});
      }
    }
  }

  #failed(error: unknown): void {
    if (this.#options.signal.aborted) return this.#drop();
    this.#drop();
    this.#options.log.debug({ err: error, dropped: this.#dropped }, 'kubernetes event dropped');
  }

  async #create(event: KubeEvent, series: Series): Promise<void> {
    await this.#options.client.create(EVENTS, this.#objectOf(event, series), this.#call());
    series.written = true;
  }

  async #count(event: KubeEvent, series: Series): Promise<void> {
    if (!series.written) return this.#create(event, series);
    const { namespace, name, count } = series;
    const patch = { series: { count, lastObservedTime: microTime(this.#options.clock.nowMs()) } };
    try {
      await this.#options.client.patch(EVENTS, { namespace, name }, patch, { kind: 'merge', ...this.#call() });
    } catch (error) {
      // Events live for an hour: one that is gone is written anew.
      if (!isIdentityError(error, 'not_found')) throw error;
      await this.#create(event, series);
    }
  }

  #call(): { readonly signal: AbortSignal; readonly timeoutMs: number } {
    return { signal: this.#options.signal, timeoutMs: 5_000 };
  }

  #objectOf({ regarding, related, type, reason, action, note }: KubeEvent, { namespace, name }: Series): KubeObject {
    const { controller, instance, clock } = this.#options;
    return {
      metadata: { namespace, name },
      eventTime: microTime(clock.nowMs()),
      reportingController: controller,
      reportingInstance: instance,
      regarding,
      ...(related === undefined ? {} : { related }),
      type,
      reason,
      action,
      note: cut(note),
    };
  }
}

/** What makes two Events the same one repeated. */
function keyOf({ regarding, related, type, reason, action, note }: KubeEvent): string {
  const { kind, uid } = regarding;
  return createHash('sha256')
    .update(JSON.stringify([kind, uid, related?.uid, type, reason, action, note]))
    .digest('hex');
}

function cut(note: string): string {
  const bytes = Buffer.from(note);
  if (bytes.length <= MAX_NOTE_BYTES) return note;
  // A character cut in two becomes U+FFFD, which is longer: leave room for it and the ellipsis.
  return `${bytes
    .subarray(0, MAX_NOTE_BYTES - 6)
    .toString('utf8')
    .replace(/\uFFFD$/, '')}…`;
}

/** Keeps a map from growing for ever: the entry that was set longest ago goes. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > MAX_REMEMBERED && oldest !== undefined) map.delete(oldest);
}

const REFUSALS: readonly ErrorCode[] = [
  'invalid_argument',
  'permission_denied',
  'not_found',
  'failed_precondition',
  'already_exists',
];

/** Whether the server itself said no to this one Event. */
function isRefusal(error: unknown): boolean {
  return isIdentityError(error) && REFUSALS.includes(error.code);
}
