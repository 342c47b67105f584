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

/** Objects of the Kubernetes API: one watch for each kind. */
export class ApiServerSource implements ResourceSource {
  readonly #options: ApiServerSourceOptions;
  readonly #watches = new Map<string, ResourceWatch>();
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
    watch.outage.subscribe(() => this.#report());
    return watch;
  }

  /** Settles when the kind is known not to be served, or has been put. */
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
    loop.catch(first.reject);
    return first.promise;
  }

  async #whileServed(
    kind: ObjectKind,
    { keys, first }: { readonly keys: Set<string>; readonly first: () => void },
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, log, discoveryMs = DISCOVERY_MS } = this.#options;
    for (let watching: AbortController | undefined; !signal.aborted;) {
      const served = await this.#isServed(kind.type, watching !== undefined);
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
      await sleep(clock, discoveryMs, signal).catch(() => {});
    }
  }

  /** Undefined while the API server does not say. */
  async #isServed(type: ResourceType, isWatched: boolean): Promise<boolean | undefined> {
    // A watch that works is proof enough.
    const watch = this.#watches.get(idOf(type));
    if (isWatched && watch !== undefined && watch.outage.value === undefined) return true;
    try {
      if (await this.#options.client.serves(type)) return true;
      // An API server that has just started does not serve yet what is defined: that must not look as if everything declared had gone.
      return (await this.#isDefined(type)) ? undefined : false;
    } catch (error) {
      if (!isIdentityError(error)) throw error;
      return error.code === 'permission_denied' && !isWatched ? false : undefined;
    }
  }

  async #isDefined({ plural, group }: ResourceType): Promise<boolean> {
    return (await this.read(CUSTOM_RESOURCE_DEFINITIONS, { name: `${plural}.${group}` })) !== undefined;
  }

  #report(): void {
    const outages = [...this.#watches].flatMap(([plural, { outage }]) =>
      outage.value === undefined ? [] : [`${plural}: ${outage.value.reason}`],
    );
    this.outage.set(outages.length === 0 ? undefined : outages.join('; '));
  }
}

// A CRD of another group may have the same plural.
function idOf({ group, plural }: ResourceType): string {
  return group === '' ? plural : `${plural}.${group}`;
}
