import { IdentityError } from '../../core/errors.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import { Current, type Source } from '../../core/current.ts';
import type { LabelSelector } from '../../policy/schema/label-selector.ts';
import type { BundleContent } from '../../runtime/kubernetes/bundle-config-map.ts';
import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import type { OwnerReference } from '../../runtime/kubernetes/object.ts';
import {
  apiVersionOf,
  CLUSTER_TRUST_BUNDLES,
  CUSTOM_RESOURCE_DEFINITIONS,
  type ResourceType,
} from '../../runtime/kubernetes/resource-types.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import { publishClusterTrustBundle, type ClusterTrustBundlePublisher } from './cluster-trust-bundle-publisher.ts';
import { publishConfigMaps, type ConfigMapPublisher } from './config-map-publisher.ts';
import { publishedBundle } from './published-bundle.ts';

/** Where the bundle is published. */
export interface BundlePublishingConfig {
  /** Undefined: in no ConfigMap. */
  readonly configMap: { readonly name: string; readonly namespaceSelector: LabelSelector } | undefined;
  /** As a ClusterTrustBundle too, where that API is served. */
  readonly clusterTrustBundle: boolean;
  /** The signer of the ClusterTrustBundle, such as `countersign.dev/svid`. */
  readonly signerName: string;
}

/** What {@link BundlePublisher} needs. */
export interface BundlePublisherOptions {
  readonly client: KubeClient;
  /** Of the own trust domain. */
  readonly bundle: Source<Bundle>;
  readonly config: BundlePublishingConfig;
  readonly clock: Clock;
  readonly log: Logger;
  /** The CustomResourceDefinition that what is published belongs to, so that it goes with the installation. */
  readonly ownerCrd?: string;
}

const OWNER_CRD = 'clusterworkloadidentities.countersign.dev';
/** How often it is looked whether ClusterTrustBundles have come to be served: an API server's upgrade brings them. */
const DISCOVER_EVERY_MS = 10 * 60_000;
/** After a failure to ask. */
const DISCOVER_AGAIN_MS = 5_000;

/**
 * Publishes the trust bundle for pods that do not ask an agent: as a ConfigMap in the chosen namespaces and as a
 * ClusterTrustBundle. One process at a time runs it: the leader.
 *
 * @example
 * await new BundlePublisher({ client, bundle: session.bundle, config, clock, log }).run(signal);
 */
export class BundlePublisher {
  readonly #options: BundlePublisherOptions;
  #configMaps: ConfigMapPublisher | undefined;
  #clusterTrustBundle: ClusterTrustBundlePublisher | undefined;

  constructor(options: BundlePublisherOptions) {
    this.#options = options;
  }

  /** How many objects could not be written the last time that it was tried. */
  get failing(): number {
    return (this.#configMaps?.failing ?? 0) + (this.#clusterTrustBundle?.failing ?? 0);
  }

  /** Publishes until the signal aborts; what is published stays. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { bundle } = this.#options;
    const content = new Current(publishedBundle(bundle.value));
    const unsubscribe = bundle.subscribe((value) => {
      const next = publishedBundle(value);
      // No authority at all: what was published stays, it may still be right.
      if (next !== undefined && !same(next, content.value)) content.set(next);
    });
    await Promise.all([this.#runConfigMaps(content, signal), this.#runClusterTrustBundle(content, signal)]);
    unsubscribe();
  }

  async #runConfigMaps(content: Source<BundleContent | undefined>, signal: AbortSignal): Promise<void> {
    const { configMap } = this.#options.config;
    if (configMap === undefined) return;
    this.#configMaps = publishConfigMaps({ ...this.#common(signal), ...configMap, content });
    await this.#configMaps.ended;
  }

  async #runClusterTrustBundle(content: Source<BundleContent | undefined>, signal: AbortSignal): Promise<void> {
    const { config, bundle } = this.#options;
    const type = config.clusterTrustBundle ? await this.#served(signal) : undefined;
    if (type === undefined) return;
    const { signerName } = config;
    const trustDomain = bundle.value.trustDomain.name;
    this.#clusterTrustBundle = publishClusterTrustBundle({ ...this.#common(signal), type, content, signerName, trustDomain });
    await this.#clusterTrustBundle.ended;
  }

  /** Waits until ClusterTrustBundles are served, in whichever version; undefined when the signal aborted. */
  async #served(signal: AbortSignal): Promise<ResourceType | undefined> {
    const { client, clock, log } = this.#options;
    while (!signal.aborted) {
      let waitMs = DISCOVER_EVERY_MS;
      try {
        const type = await client.firstServed(CLUSTER_TRUST_BUNDLES, { signal });
        if (type !== undefined) return type;
        log.info('ClusterTrustBundles are not served here; the bundle is published in ConfigMaps alone');
      } catch (error) {
        log.debug({ err: error }, 'cannot tell whether ClusterTrustBundles are served');
        waitMs = DISCOVER_AGAIN_MS;
      }
      await sleep(clock, waitMs, signal).catch(() => {});
    }
    return undefined;
  }

  #common(signal: AbortSignal): {
    readonly client: KubeClient;
    readonly owner: () => Promise<OwnerReference | undefined>;
    readonly clock: Clock;
    readonly log: Logger;
    readonly signal: AbortSignal;
  } {
    const { client, clock, log, ownerCrd = OWNER_CRD } = this.#options;
    let wasOwned = false;
    const owner = async (): Promise<OwnerReference | undefined> => {
      const found = await ownerIn(client, ownerCrd, signal);
      // Countersign is being removed: what is deleted with the owner must not come back without one.
      if (found === undefined && wasOwned) throw new IdentityError('not_found', `the definition ${ownerCrd} was removed`);
      wasOwned ||= found !== undefined;
      return found;
    };
    // Where the bundle is published already, nobody asks for the owner before it is gone.
    void owner();
    return { client, owner, clock, log, signal };
  }
}

/** The owner as it is now: after a new installation it is another one. None where it may not be read. */
async function ownerIn(client: KubeClient, crd: string, signal: AbortSignal): Promise<OwnerReference | undefined> {
  try {
    for await (const { items } of client.list(CUSTOM_RESOURCE_DEFINITIONS, { fieldSelector: `metadata.name=${crd}`, signal })) {
      const uid = items[0]?.metadata.uid;
      if (uid === undefined) continue;
      return { apiVersion: apiVersionOf(CUSTOM_RESOURCE_DEFINITIONS), kind: CUSTOM_RESOURCE_DEFINITIONS.kind, name: crd, uid };
    }
  } catch {
    // Published without an owner it still serves; only an uninstallation then leaves it behind.
  }
  return undefined;
}

function same(one: BundleContent, other: BundleContent | undefined): boolean {
  return one.pem === other?.pem && one.document === other.document;
}
