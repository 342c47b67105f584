import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import { isIdentityError } from '../../core/errors.ts';
import { matches, type Labels, type LabelSelector } from '../../policy/schema/label-selector.ts';
import {
  bundleConfigMap,
  bundleData,
  MANAGED_BY_LABEL,
  TRUST_DOMAIN_ANNOTATION,
  type BundleContent,
} from '../../runtime/kubernetes/bundle-config-map.ts';
import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import { isRecord } from '../../runtime/kubernetes/errors.ts';
import type { KubeObject, OwnerReference } from '../../runtime/kubernetes/object.ts';
import { CONFIG_MAPS, NAMESPACES } from '../../runtime/kubernetes/resource-types.ts';
import { watchResource, type ResourceWatch } from '../../runtime/kubernetes/watch.ts';
import type { Logger } from '../../runtime/log.ts';
import { KeyedWork } from './keyed-work.ts';
import { digestOf } from './published-bundle.ts';

/** Value of the managed-by label of what the controller publishes. */
export const MANAGED_BY_CONTROLLER = 'countersign-controller';

/** What {@link publishConfigMaps} needs. */
export interface ConfigMapPublishing {
  readonly client: KubeClient;
  /** What is published; undefined while there is nothing that may be. */
  readonly content: Source<BundleContent | undefined>;
  /** Name of the ConfigMap in each chosen namespace. */
  readonly name: string;
  readonly namespaceSelector: LabelSelector;
  /** What the ConfigMaps belong to, so that they go when it goes. */
  readonly owner: () => Promise<OwnerReference | undefined>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** What is kept of a namespace. */
interface Namespace {
  readonly labels: Labels;
  readonly terminating: boolean;
}

/** What is kept of a ConfigMap with our name. */
interface Published {
  readonly uid: string;
  readonly resourceVersion: string;
  readonly ours: boolean;
  readonly digest: string;
  readonly keys: readonly string[];
}

const PARALLEL_WRITES = 4;

/** What is being published in ConfigMaps, and how it goes. */
export interface ConfigMapPublisher {
  readonly watches: readonly ResourceWatch[];
  /** Namespaces whose ConfigMap could not be written the last time. */
  readonly failing: number;
  /** Settles when the signal has aborted and no write is under way. */
  readonly ended: Promise<void>;
}

/**
 * Keeps a ConfigMap with the bundle in each namespace that a selector chooses: makes it, follows rotations, undoes edits by
 * hand, and removes it from namespaces that are no longer chosen. One of that name that somebody else made is left alone.
 * It writes only where something differs.
 */
export function publishConfigMaps(options: ConfigMapPublishing): ConfigMapPublisher {
  const publishing = new Publishing(options);
  const ended = publishing.run();
  return {
    watches: publishing.watches,
    ended,
    get failing() {
      return publishing.failing;
    },
  };
}

class Publishing {
  readonly #options: ConfigMapPublishing;
  readonly #namespaces = new Map<string, Namespace>();
  /** By namespace. */
  readonly #published = new Map<string, Published>();
  readonly #work: KeyedWork;
  #isSynced = false;
  readonly watches: readonly ResourceWatch[];

  constructor(options: ConfigMapPublishing) {
    this.#options = options;
    const { clock, log, signal } = options;
    this.#work = new KeyedWork({ work: (name) => this.#keep(name), parallel: PARALLEL_WRITES, clock, log, signal });
    this.watches = [this.#watchNamespaces(), this.#watchConfigMaps()];
  }

  get failing(): number {
    return this.#work.failing;
  }

  async run(): Promise<void> {
    const unsubscribe = this.#options.content.subscribe(() => this.#all());
    // Before both are known, a ConfigMap that is there would be taken for missing.
    await Promise.all(this.watches.map(({ synced }) => synced)).then(
      () => this.#all(),
      () => {},
    );
    await Promise.all(this.watches.map(({ ended }) => ended));
    unsubscribe();
    await this.#work.idle();
  }

  #watchNamespaces(): ResourceWatch {
    return watchResource({
      ...this.#watching(),
      type: NAMESPACES,
      trim: ({ metadata }) => ({ labels: metadata.labels ?? {}, terminating: metadata.deletionTimestamp !== undefined }),
      handler: {
        put: (namespace, name) => {
          this.#namespaces.set(name, namespace);
          this.#changed(name);
        },
        remove: (name) => void this.#namespaces.delete(name),
        synced: () => {},
      },
    });
  }

  #watchConfigMaps(): ResourceWatch {
    return watchResource({
      ...this.#watching(),
      type: CONFIG_MAPS,
      // A name is what RBAC can restrict a watch to.
      fieldSelector: `metadata.name=${this.#options.name}`,
      trim: (object) => ({ namespace: object.metadata.namespace ?? '', published: publishedOf(object) }),
      handler: {
        put: ({ namespace, published }) => {
          this.#published.set(namespace, published);
          this.#changed(namespace);
        },
        remove: (key) => {
          const [namespace = ''] = key.split('/');
          this.#published.delete(namespace);
          this.#changed(namespace);
        },
        synced: () => {},
      },
    });
  }

  #watching(): Pick<ConfigMapPublishing, 'client' | 'clock' | 'log' | 'signal'> {
    const { client, clock, log, signal } = this.#options;
    return { client, clock, log, signal };
  }

  #changed(namespace: string): void {
    if (this.#isSynced && !this.#isRight(namespace)) this.#work.add(namespace);
  }

  #all(): void {
    this.#isSynced = true;
    for (const namespace of new Set([...this.#namespaces.keys(), ...this.#published.keys()])) this.#changed(namespace);
  }

  /** What ought to be in a namespace; undefined where nothing of ours ought to be. */
  #wanted(name: string): BundleContent | undefined {
    const namespace = this.#namespaces.get(name);
    if (namespace === undefined || !matches(this.#options.namespaceSelector, namespace.labels)) return undefined;
    return this.#options.content.value;
  }

  #isRight(namespace: string): boolean {
    const known = this.#published.get(namespace);
    if (known !== undefined && !known.ours) return true;
    if (this.#namespaces.get(namespace)?.terminating === true) return true;
    const wanted = this.#wanted(namespace);
    if (wanted === undefined) return known === undefined || !this.#mayRemove(namespace);
    return known?.digest === digestFor(wanted);
  }

  /** Nothing is removed because there is no bundle at the moment. */
  #mayRemove(name: string): boolean {
    const namespace = this.#namespaces.get(name);
    return namespace !== undefined && !matches(this.#options.namespaceSelector, namespace.labels);
  }

  async #keep(namespace: string): Promise<void> {
    if (this.#isRight(namespace)) return;
    const known = this.#published.get(namespace);
    const wanted = this.#wanted(namespace);
    try {
      if (wanted === undefined) await this.#remove(namespace, known);
      else this.#note(namespace, known, await this.#write(namespace, known, wanted));
    } catch (error) {
      // Changed or gone meanwhile, or the namespace is: the watch tells, and then it is looked at again.
      if (!isPassing(error)) throw error;
      this.#options.log.debug({ err: error, namespace }, 'bundle changed while it was written');
    }
  }

  async #write(namespace: string, known: Published | undefined, wanted: BundleContent): Promise<KubeObject> {
    const { client, name, log, signal } = this.#options;
    const object = bundleConfigMap({ namespace, name, managedBy: MANAGED_BY_CONTROLLER }, wanted);
    if (known === undefined) {
      const owner = await this.#options.owner();
      const metadata = { ...object.metadata, ...(owner === undefined ? {} : { ownerReferences: [owner] }) };
      const created = await client.create(CONFIG_MAPS, { ...object, metadata }, { signal });
      log.info({ namespace }, 'bundle published in a namespace');
      return created;
    }
    const data = bundleData(wanted);
    const strangers = known.keys.filter((key) => !Object.hasOwn(data, key)).map((key) => [key, null]);
    const { resourceVersion } = known;
    const patch = {
      metadata: { resourceVersion, labels: object.metadata.labels, annotations: object.metadata.annotations },
      data: { ...data, ...Object.fromEntries(strangers) },
      binaryData: null,
    };
    const patched = await client.patch(CONFIG_MAPS, { namespace, name }, patch, { kind: 'merge', signal });
    log.info({ namespace }, 'bundle brought up to date in a namespace');
    return patched;
  }

  async #remove(namespace: string, known: Published | undefined): Promise<void> {
    if (known === undefined) return;
    const { client, name, log, signal } = this.#options;
    const { uid, resourceVersion } = known;
    await client.delete(CONFIG_MAPS, { namespace, name }, { preconditions: { uid, resourceVersion }, signal });
    log.info({ namespace }, 'bundle removed from a namespace that is no longer chosen');
  }

  /** The watch tells of our own write a little later; until then it must not be made again. It may also have been faster. */
  #note(namespace: string, before: Published | undefined, written: KubeObject): void {
    if (this.#published.get(namespace) === before) this.#published.set(namespace, publishedOf(written));
  }
}

function publishedOf(object: KubeObject): Published {
  const { uid = '', resourceVersion = '', labels, annotations } = object.metadata;
  const data = isRecord(object['data']) ? object['data'] : {};
  const binary = isRecord(object['binaryData']) ? { binary: true } : {};
  return {
    uid,
    resourceVersion,
    ours: labels?.[MANAGED_BY_LABEL] === MANAGED_BY_CONTROLLER,
    digest: digestOf({ ...data, ...binary, [TRUST_DOMAIN_ANNOTATION]: annotations?.[TRUST_DOMAIN_ANNOTATION] }),
    keys: Object.keys(data),
  };
}

function digestFor(content: BundleContent): string {
  return digestOf({ ...bundleData(content), [TRUST_DOMAIN_ANNOTATION]: content.trustDomain });
}

const PASSING = ['aborted', 'not_found', 'already_exists', 'failed_precondition'] as const;

function isPassing(error: unknown): boolean {
  return PASSING.some((code) => isIdentityError(error, code));
}
