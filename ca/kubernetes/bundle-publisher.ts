import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import { bundleConfigMap } from '../../runtime/kubernetes/bundle-config-map.ts';
import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import { isRecord } from '../../runtime/kubernetes/errors.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { CONFIG_MAPS } from '../../runtime/kubernetes/resource-types.ts';
import { watchResource, type ResourceWatch } from '../../runtime/kubernetes/watch.ts';
import type { Logger } from '../../runtime/log.ts';
import { formatBundleDocument, type Bundle } from '../../spiffe/bundle.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import type { RegistryFeed } from '../registry/feed.ts';

/** What a {@link BundlePublisher} needs. */
export interface BundlePublisherOptions {
  readonly client: KubeClient;
  readonly target: { readonly namespace: string; readonly name: string };
  readonly feed: Pick<RegistryFeed, 'registry' | 'outage'>;
  readonly clock: Clock;
  readonly log: Logger;
}

const FIELD_MANAGER = 'countersign-ca';
const RETRY = { initialMs: 500, maxMs: 30_000 };
// Another replica may know a newer bundle already: what differs is given the time to be learned here before it is undone.
const REPAIR_AFTER_MS = 1_000;

/**
 * Keeps a ConfigMap current with the bundle of the trust domain, so that agents know what to trust at first: made when it is
 * missing, written with each change, and repaired when somebody edits or deletes it. Whatever fails, the CA goes on without.
 */
export class BundlePublisher implements AsyncDisposable {
  readonly #options: BundlePublisherOptions;
  readonly #stop = new AbortController();
  readonly #watch: ResourceWatch;
  readonly #running: Promise<void>;
  readonly #unsubscribe: () => void;
  /** What is in the cluster, as far as the watch has told; undefined when there is none. */
  #present: string | undefined;
  #isObserved = false;
  #fault: string | undefined;
  #wake: () => void = () => {};
  #isDirty = true;

  constructor(options: BundlePublisherOptions) {
    const { client, target, feed, clock, log } = options;
    this.#options = options;
    this.#watch = watchResource<string>({
      client,
      type: CONFIG_MAPS,
      namespace: target.namespace,
      fieldSelector: `metadata.name=${target.name}`,
      trim: dataOf,
      handler: {
        put: (data) => this.#observe(data),
        remove: () => this.#observe(undefined),
        synced: () => this.#observe(this.#present),
      },
      clock,
      log,
      signal: this.#stop.signal,
    });
    // Aborted before its first list, this is rejected; the runs ends in the ordinary way all the same.
    this.#watch.synced.catch(() => {});
    this.#unsubscribe = feed.registry.bundle.subscribe(() => this.#mark());
    this.#running = this.#run();
  }

  /** What keeps the ConfigMap from being current; undefined when it is. */
  get fault(): string | undefined {
    return this.#fault ?? this.#watch.outage.value?.reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unsubscribe();
    this.#stop.abort();
    this.#wake();
    await Promise.all([this.#running, this.#watch.ended]);
  }

  #observe(data: string | undefined): void {
    this.#present = data;
    this.#isObserved = true;
    if (data !== this.#desired().data) this.#repairLater();
  }

  #repairLater(): void {
    const { clock, feed } = this.#options;
    clock.setTimer(REPAIR_AFTER_MS, () => {
      // Without the store this replica may be the one that is behind.
      if (feed.outage === undefined && this.#present !== this.#desired().data) this.#mark();
    });
  }

  #mark(): void {
    this.#isDirty = true;
    this.#wake();
  }

  async #run(): Promise<void> {
    const { clock, log, target } = this.#options;
    const { signal } = this.#stop;
    const backoff = new Backoff(RETRY);
    while (!signal.aborted) {
      if (!this.#isDirty) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        continue;
      }
      this.#isDirty = false;
      try {
        await this.#write();
        backoff.reset();
        this.#fault = undefined;
      } catch (err) {
        if (signal.aborted) return;
        const why = isIdentityError(err) ? err.message : 'unexpected failure';
        if (this.#fault === undefined)
          log.warn({ err, configMap: target.name, namespace: target.namespace }, 'bundle not published');
        this.#fault = `degraded: the ConfigMap ${target.namespace}/${target.name} is not current: ${why}`;
        this.#isDirty = true;
        await sleep(clock, backoff.nextMs(), signal).catch(() => {});
      }
    }
  }

  async #write(): Promise<void> {
    const { client, log, target } = this.#options;
    const { object, data } = this.#desired();
    // Restarts and other replicas: what is there already is not written again.
    if (this.#isObserved && this.#present === data) return;
    const options = { fieldManager: FIELD_MANAGER, force: true, signal: this.#stop.signal };
    await client.apply(CONFIG_MAPS, object, options);
    log.info({ configMap: target.name, namespace: target.namespace }, 'bundle published');
  }

  #desired(): { readonly object: KubeObject; readonly data: string } {
    const bundle = this.#options.feed.registry.bundle.value;
    const { trustDomain } = bundle;
    const content = { trustDomain: trustDomain.name, pem: pemOf(bundle), document: formatBundleDocument(bundle) };
    const object = bundleConfigMap({ ...this.#options.target, managedBy: FIELD_MANAGER }, content);
    return { object, data: dataOf(object) };
  }
}

function pemOf({ x509Authorities }: Bundle): string {
  return x509Authorities.map(({ der }) => encodePem('CERTIFICATE', der)).join('');
}

/** The content of a ConfigMap, to compare. */
function dataOf(object: KubeObject): string {
  const data = isRecord(object['data']) ? object['data'] : {};
  return JSON.stringify(Object.entries(data).toSorted(([one], [other]) => (one < other ? -1 : 1)));
}
