import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { isIdentityError } from '../../core/errors.ts';
import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import type { KubeMetrics } from '../../runtime/kubernetes/metrics.ts';
import type { KubeObject, ObjectName } from '../../runtime/kubernetes/object.ts';
import { CUSTOM_RESOURCE_DEFINITIONS, type ResourceType } from '../../runtime/kubernetes/resource-types.ts';
import { watchResource, type ResourceWatch } from '../../runtime/kubernetes/watch.ts';
import type { Logger } from '../../runtime/log.ts';
import type { ObjectKind, ResourceSource } from './object-kind.ts';

/** What {@link ApiServerSource} needs. */
export interface ApiServerSourceOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: KubeMetrics;
  /** How often it is asked whether a kind that was not served is served now, or the other way round. */
  readonly discoveryMs?: number;
}

const DISCOVERY_MS = 10_000;
/** While the API server does not say. */
const UNKNOWN = { initialMs: 500, maxMs: DISCOVERY_MS };

/** Objects of the Kubernetes API: one watch for each kind. */
export class ApiServerSource implements ResourceSource {
  readonly #options: ApiServerSourceOptions;
  readonly #watches = new Map<string, ResourceWatch>();
  /** Why it is not known whether a kind is served, by kind. */
  readonly #unknown = new Map<string, string>();
  readonly outage = new Current<string | undefined>(undefined);

  constructor(options: ApiServerSourceOptions) {
    this.#options = options;
  }

  async follow(kinds: readonly ObjectKind[], signal: AbortSignal): Promise<void> {
    // What is declared says how much of the others is kept, so it is read first.
    await Promise.all(kinds.filter(({ optional }) => optional).map((kind) => this.#followOptional(kind, signal)));
    await Promise.all(kinds.filter(({ optional }) => !optional).map((kind) => this.#watch(kind, signal).synced));
  }

  reload(plurals: readonly string[]): void {
    for (const plural of plurals) this.#watches.get(plural)?.restart();
  }

  async read(type: ResourceType, { namespace, name }: ObjectName): Promise<KubeObject | undefined> {
    // By a list, for which the permission is there anyway.
    const selection = { fieldSelector: `metadata.name=${name}`, ...(namespace === undefined ? {} : { namespace }) };
    for await (const page of this.#options.client.list(type, selection)) for (const object of page.items) return object;
    return undefined;
  }

  #watch({ type, read, remove }: ObjectKind, signal: AbortSignal): ResourceWatch {
    const { client, clock, log, metrics } = this.#options;
    const watch = watchResource({
      client,
      type,
      trim: read,
      handler: { put: (apply, key) => apply(key), remove, synced: () => {} },
      clock,
      log,
      ...(metrics === undefined ? {} : { metrics }),
      signal,
    });
    this.#watches.set(idOf(type), watch);
    watch.outage.subscribe((outage) => {
      this.#report();
      // What one watch can do the others can: none need sit out a long wait.
      if (outage === undefined) for (const other of this.#watches.values()) other.hasten();
    });
    return watch;
  }

  /** Settles when the kind is known not to be served, or has been put; rejects when the signal aborts before. */
  async #followOptional(kind: ObjectKind, signal: AbortSignal): Promise<void> {
    const first = Promise.withResolvers<void>();
    const keys = new Set<string>();
    const noted: ObjectKind = {
      ...kind,
      read: (object) => {
        const apply = kind.read(object);
        return (key) => {
          keys.add(key);
          apply(key);
        };
      },
      remove: (key) => {
        keys.delete(key);
        kind.remove(key);
      },
    };
    const loop = this.#whileServed(noted, { keys, first: first.resolve }, signal);
    // It ends without an error when the signal aborts, which settles nothing else while the API server is away.
    loop.then(() => first.reject(signal.reason), first.reject);
    return first.promise;
  }

  async #whileServed(
    kind: ObjectKind,
    { keys, first }: { readonly keys: Set<string>; readonly first: () => void },
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, log, discoveryMs = DISCOVERY_MS } = this.#options;
    const backoff = new Backoff(UNKNOWN);
    for (let watching: AbortController | undefined; !signal.aborted;) {
      const served = await this.#isServed(kind.type, { isWatched: watching !== undefined, signal });
      if (signal.aborted) return;
      if (served && watching === undefined) {
        watching = new AbortController();
        log.info({ kind: kind.type.kind, group: kind.type.group }, 'kind is served');
        const watch = this.#watch(kind, AbortSignal.any([signal, watching.signal]));
        void watch.synced.then(first, () => {});
      } else if (served === false && watching !== undefined) {
        watching.abort();
        watching = undefined;
        this.#watches.delete(idOf(kind.type));
        this.#report();
        log.info({ kind: kind.type.kind, group: kind.type.group }, 'kind is no longer served');
        for (const key of keys) kind.remove(key);
      }
      if (served === false) first();
      if (served !== undefined) backoff.reset();
      const isPending = served === undefined && watching === undefined;
      await sleep(clock, isPending ? Math.min(discoveryMs, backoff.nextMs()) : discoveryMs, signal).catch(() => {});
    }
  }

  /** Undefined while the API server does not say. */
  async #isServed(
    type: ResourceType,
    { isWatched, signal }: { readonly isWatched: boolean; readonly signal: AbortSignal },
  ): Promise<boolean | undefined> {
    // A watch that works is proof enough.
    const watch = this.#watches.get(idOf(type));
    if (isWatched && watch !== undefined && watch.outage.value === undefined) return true;
    try {
      const served = await this.#askWhetherServed(type, signal);
      this.#note(type, served === undefined ? 'it is defined, but not served yet' : undefined);
      return served;
    } catch (error) {
      if (!isIdentityError(error)) throw error;
      // Of a kind that is watched the watch says what is wrong.
      if (isWatched) return undefined;
      const isForbidden = error.code === 'permission_denied';
      this.#note(type, isForbidden ? undefined : error.message);
      return isForbidden ? false : undefined;
    }
  }

  async #askWhetherServed(type: ResourceType, signal: AbortSignal): Promise<boolean | undefined> {
    const { client } = this.#options;
    if (await client.serves(type, { signal })) return true;
    // An API server that has just started does not serve yet what is defined: that must not look as if everything declared had gone.
    const definition = { fieldSelector: `metadata.name=${type.plural}.${type.group}`, signal };
    for await (const page of client.list(CUSTOM_RESOURCE_DEFINITIONS, definition)) if (page.items.length > 0) return undefined;
    return false;
  }

  #note(type: ResourceType, reason: string | undefined): void {
    if (reason === undefined) this.#unknown.delete(idOf(type));
    else this.#unknown.set(idOf(type), reason);
    this.#report();
  }

  /** Says each reason once, with the kinds that it keeps from being seen. */
  #report(): void {
    const reasons = new Map(this.#unknown);
    for (const [id, { outage }] of this.#watches) if (outage.value !== undefined) reasons.set(id, outage.value.reason);
    const before = this.outage.value;
    const kindsByReason = Map.groupBy(reasons, ([, reason]) => reason);
    const texts = Array.from(kindsByReason, ([reason, kinds]) => `${reason} (${kinds.map(([id]) => id).join(', ')})`);
    this.outage.set(texts.length === 0 ? undefined : texts.join('; '));
    if (before === undefined && texts.length > 0)
      this.#options.log.warn({ reason: texts.join('; ') }, 'resources cannot be followed; trying again');
  }
}

// A CRD of another group may have the same plural.
function idOf({ group, plural }: ResourceType): string {
  return group === '' ? plural : `${plural}.${group}`;
}
