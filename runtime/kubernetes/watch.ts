import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import { Current, type Source } from '../../core/current.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Logger } from '../log.ts';
import type { KubeClient, Selection, WatchEvent } from './client.ts';
import { isExpired } from './errors.ts';
import type { KubeMetrics } from './metrics.ts';
import { objectKey, type KubeObject } from './object.ts';
import type { ResourceType } from './resource-types.ts';

/** Who is told of a type's objects. Calls are synchronous and in the order of the API server; they must not throw. */
export interface WatchHandler<T> {
  /** An object is there or has changed. It may be another object (another UID) than the one last put under this key. */
  put(value: T, key: string): void;
  /** The object under this key is gone, or no longer selected. */
  remove(key: string): void;
  /** Everything that there is has been put: after the first list, and after each later one. */
  synced(): void;
}

/** What {@link watchResource} needs. */
export interface WatchOptions<T> extends Selection {
  readonly client: KubeClient;
  readonly type: ResourceType;
  /** Takes from an object what is kept of it. Called for each object as it is parsed. */
  readonly trim: (object: KubeObject) => T;
  readonly handler: WatchHandler<T>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: KubeMetrics;
  /** Ends the watch. */
  readonly signal: AbortSignal;
  readonly pageSize?: number;
  readonly random?: () => number;
}

/** Why a watch does not see the API server at the moment. */
export interface WatchOutage {
  /** Since when, in wall time, milliseconds. */
  readonly sinceMs: number;
  readonly reason: string;
}

/** A watch that runs until its signal aborts. */
export interface ResourceWatch {
  /** Settles with the first complete list; rejects with the signal's reason when it aborts before. */
  readonly synced: Promise<void>;
  /** Lists everything anew and puts every object again, because `trim` has become wider. */
  restart(): void;
  /** Tries again at once if it waits after a failure, once for each outage: the server answers others. */
  hasten(): void;
  /** Settles when the signal has aborted and no call of the handler will follow. */
  readonly ended: Promise<void>;
  /** The present outage; undefined while the watch is current or has not failed yet. */
  readonly outage: Source<WatchOutage | undefined>;
  /** How many objects there are. */
  readonly size: number;
}

const WATCH_SECONDS = { least: 240, spread: 240 };
/** The server sends a bookmark about once a minute; when two are missing the connection is taken for dead. */
const INACTIVITY_MS = 150_000;
const BACKOFF = { initialMs: 200, maxMs: 30_000 };
/** A watch that ends sooner than this counts as failed. */
const SHORT_WATCH_MS = 1_000;

/**
 * Lists a type's objects and follows their changes for ever: it resumes where it was after each interruption, lists anew when
 * the server no longer knows that version (and removes what vanished meanwhile), and waits with full jitter while the server
 * fails. Of each object only its key and version are kept; the handler keeps what it wants.
 *
 * @example
 * const pods = watchResource({ client, type: PODS, trim: trimPod, handler, clock, log, signal });
 * await pods.synced;
 */
export function watchResource<T>(options: WatchOptions<T>): ResourceWatch {
  const watch = new Watch(options);
  const ended = watch.run();
  return {
    synced: watch.synced,
    restart: () => watch.restart(),
    hasten: () => watch.hasten(),
    ended,
    outage: watch.outage,
    get size() {
      return watch.size;
    },
  };
}

const RESTARTED = new Error('the watch was told to list anew');

class Watch<T> {
  readonly #options: WatchOptions<T>;
  readonly #backoff: Backoff;
  readonly #synced = Promise.withResolvers<void>();
  /** The version under which each object was last put. */
  readonly #versions = new Map<string, string>();
  readonly outage = new Current<WatchOutage | undefined>(undefined);
  /** Where the watch continues; undefined when a list is needed. */
  #version: string | undefined;
  /** Objects are to be put although their version is known. */
  #putAll = false;
  #lists = 0;
  /** When the server accepted the present watch, in monotonic milliseconds; undefined until it has. */
  #acceptedMs: number | undefined;
  #attempt = new AbortController();
  /** Ends the present wait. */
  #wake: () => void = () => {};
  /** Two watches that fail again and again must not wake each other again and again. */
  #mayHasten = true;

  constructor(options: WatchOptions<T>) {
    this.#options = options;
    const { random } = options;
    this.#backoff = new Backoff({ ...BACKOFF, ...(random === undefined ? {} : { random }) });
    // Nobody need wait for it.
    this.#synced.promise.catch(() => {});
  }

  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  get size(): number {
    return this.#versions.size;
  }

  restart(): void {
    this.#putAll = true;
    this.#version = undefined;
    this.#attempt.abort(RESTARTED);
  }

  hasten(): void {
    if (this.outage.value === undefined || !this.#mayHasten) return;
    this.#mayHasten = false;
    this.#backoff.reset();
    this.#wake();
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    const onAbort = (): void => this.#attempt.abort(signal.reason);
    signal.addEventListener('abort', onAbort);
    try {
      while (!signal.aborted) await this.#once();
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#synced.reject(signal.reason);
    }
  }

  async #once(): Promise<void> {
    this.#attempt = new AbortController();
    try {
      if (this.#version === undefined) await this.#list();
      await this.#follow(this.#version ?? '');
      // The server ends each watch after a while; only one that it ends at once is a reason to wait.
      if (!this.#hasLasted()) await this.#wait(this.#backoff.nextMs());
    } catch (error) {
      await this.#recover(error);
    }
  }

  /** Decides what follows a failure; returns when the next attempt is due. */
  async #recover(error: unknown): Promise<void> {
    const { signal, log, type } = this.#options;
    if (signal.aborted || error === RESTARTED) return;
    const retryAfterMs = isIdentityError(error) ? (error.retryAfterMs ?? 0) : 0;
    if (isExpired(error)) {
      log.info({ resource: type.plural }, 'watch can no longer be resumed; listing anew');
      this.#version = undefined;
    } else {
      this.#failed(error);
    }
    const delayMs = this.#backoff.nextMs();
    // A time that the server names is kept.
    if (retryAfterMs > 0) return this.#wait(Math.max(retryAfterMs, delayMs));
    const hastened = new AbortController();
    this.#wake = () => hastened.abort();
    await this.#wait(delayMs, hastened.signal);
    this.#wake = () => {};
  }

  #failed(error: unknown): void {
    const { clock, log, type } = this.#options;
    const reason = error instanceof Error ? error.message : String(error);
    const before = this.outage.value;
    // Once for each outage: a server that stays away would fill the log.
    if (before === undefined) log.warn({ resource: type.plural, reason }, 'watch interrupted');
    if (before?.reason !== reason) this.outage.set({ sinceMs: before?.sinceMs ?? clock.nowMs(), reason });
  }

  #recovered(): void {
    const { clock, log, type } = this.#options;
    const before = this.outage.value;
    if (before === undefined) return;
    log.info({ resource: type.plural, afterMs: clock.nowMs() - before.sinceMs }, 'watch resumed');
    this.outage.set(undefined);
  }

  async #wait(delayMs: number, hastened?: AbortSignal): Promise<void> {
    const { signal } = this.#attempt;
    await sleep(this.#options.clock, delayMs, hastened === undefined ? signal : AbortSignal.any([signal, hastened])).catch(
      () => {},
    );
  }

  async #list(): Promise<void> {
    const { client, type, metrics } = this.#options;
    this.#lists += 1;
    if (this.#lists > 1) metrics?.relists.inc({ resource: type.plural });
    const seen = new Set<string>();
    let page: { readonly resourceVersion: string; readonly continue: string | undefined } | undefined;
    do {
      const options = { ...this.#selection(), signal: this.#attempt.signal, continue: page?.continue };
      page = await client.listPage(type, options, (object) => {
        const key = objectKey(object);
        seen.add(key);
        this.#put(key, object, this.#putAll);
      });
      // A page may still arrive whole after a restart: it was trimmed as before.
      this.#attempt.signal.throwIfAborted();
    } while (page.continue !== undefined);
    for (const key of this.#versions.keys()) if (!seen.has(key)) this.#remove(key);
    this.#version = page.resourceVersion;
    this.#putAll = false;
    this.#call(() => this.#options.handler.synced());
    this.#synced.resolve();
    this.#recovered();
  }

  #selection(): Selection & { readonly pageSize?: number } {
    const { namespace, labelSelector, fieldSelector, pageSize } = this.#options;
    const given = Object.entries({ namespace, labelSelector, fieldSelector, pageSize });
    return Object.fromEntries(given.filter(([, value]) => value !== undefined));
  }

  async #follow(version: string): Promise<void> {
    const { client, type, clock, random = Math.random } = this.#options;
    this.#acceptedMs = undefined;
    const { alive, done } = this.#watchdog();
    try {
      const timeoutSeconds = Math.round(WATCH_SECONDS.least + random() * WATCH_SECONDS.spread);
      const signal = this.#attempt.signal;
      const started = (): void => {
        alive();
        this.#acceptedMs ??= clock.monotonicMs();
        this.#recovered();
      };
      const options = { ...this.#selection(), resourceVersion: version, timeoutSeconds, signal, alive: started };
      for await (const event of client.watch(type, options)) {
        // What was still on its way when the watch was stopped is not told any more.
        signal.throwIfAborted();
        this.#take(event);
      }
    } finally {
      done();
      this.#options.metrics?.watchRestarts.inc({ resource: type.plural });
      if (this.#hasLasted()) {
        this.#backoff.reset();
        this.#mayHasten = true;
      }
    }
  }

  #hasLasted(): boolean {
    return this.#acceptedMs !== undefined && this.#options.clock.monotonicMs() - this.#acceptedMs >= SHORT_WATCH_MS;
  }

  /** Ends the attempt when nothing, not even a bookmark, has arrived for too long. */
  #watchdog(): { readonly alive: () => void; readonly done: () => void } {
    const { clock } = this.#options;
    const attempt = this.#attempt;
    let lastMs = clock.monotonicMs();
    const quiet = (): void => {
      const restMs = lastMs + INACTIVITY_MS - clock.monotonicMs();
      if (restMs > 0) timer = clock.setTimer(restMs, quiet);
      else attempt.abort(new IdentityError('unavailable', `the API server has sent nothing for ${INACTIVITY_MS / 1000} s`));
    };
    let timer = clock.setTimer(INACTIVITY_MS, quiet);
    return { alive: () => void (lastMs = clock.monotonicMs()), done: () => timer.cancel() };
  }

  #take({ type: kind, object }: WatchEvent): void {
    const { type, metrics } = this.#options;
    metrics?.watchEvents.inc({ resource: type.plural, type: kind });
    const version = object.metadata.resourceVersion;
    if (version === undefined) throw new IdentityError('unavailable', 'the API server sent an event without a version');
    this.#refuseThePast(version);
    this.#version = version;
    if (kind === 'BOOKMARK') return;
    const key = objectKey(object);
    if (kind === 'DELETED') this.#remove(key);
    else this.#put(key, object, false);
  }

  /** A server restored from a backup begins at an older version: what is known here may never have been. */
  #refuseThePast(version: string): void {
    const before = this.#version;
    if (before === undefined || !isOlder(version, before)) return;
    this.#version = undefined;
    throw new IdentityError('unavailable', "the API server's versions went back, as after a restored backup; listing anew");
  }

  #put(key: string, object: KubeObject, always: boolean): void {
    const version = object.metadata.resourceVersion ?? '';
    if (!always && this.#versions.get(key) === version) return;
    const { trim, handler } = this.#options;
    if (this.#call(() => handler.put(trim(object), key), key)) this.#versions.set(key, version);
  }

  #remove(key: string): void {
    if (!this.#versions.delete(key)) return;
    this.#call(() => this.#options.handler.remove(key), key);
  }

  /** A handler that throws is a fault of ours; the other objects shall not suffer from it. */
  #call(run: () => void, key?: string): boolean {
    try {
      run();
      return true;
    } catch (error) {
      const { log, type } = this.#options;
      log.error({ err: error, resource: type.plural, key }, 'an object could not be taken over');
      return false;
    }
  }
}

/** Whether a version is before another; versions are decimal numbers of any length. */
function isOlder(version: string, than: string): boolean {
  const decimal = /^[1-9]\d*$/;
  if (!decimal.test(version) || !decimal.test(than)) return false;
  return version.length === than.length ? version < than : version.length < than.length;
}
