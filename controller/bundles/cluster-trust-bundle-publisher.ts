import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import { isIdentityError } from '../../core/errors.ts';
import { MANAGED_BY_LABEL, type BundleContent } from '../../runtime/kubernetes/bundle-config-map.ts';
import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import { isRecord } from '../../runtime/kubernetes/errors.ts';
import type { KubeObject, OwnerReference } from '../../runtime/kubernetes/object.ts';
import type { ResourceType } from '../../runtime/kubernetes/resource-types.ts';
import { watchResource, type ResourceWatch } from '../../runtime/kubernetes/watch.ts';
import type { Logger } from '../../runtime/log.ts';
import { MANAGED_BY_CONTROLLER } from './config-map-publisher.ts';
import { KeyedWork } from './keyed-work.ts';

/** What {@link publishClusterTrustBundle} needs. */
export interface ClusterTrustBundlePublishing {
  readonly client: KubeClient;
  /** The version of the API that is served. */
  readonly type: ResourceType;
  readonly content: Source<BundleContent | undefined>;
  /** The signer that the bundle belongs to, such as `countersign.dev/svid`. */
  readonly signerName: string;
  /** Part of the object's name. */
  readonly trustDomain: string;
  readonly owner: () => Promise<OwnerReference | undefined>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** What is being published as a ClusterTrustBundle, and how it goes. */
export interface ClusterTrustBundlePublisher {
  readonly watches: readonly ResourceWatch[];
  readonly failing: number;
  readonly ended: Promise<void>;
}

/**
 * The name of a trust domain's ClusterTrustBundle. The API wants the signer's name before it, with `:` for `/`.
 *
 * @example
 * clusterTrustBundleName('countersign.dev/svid', 'cluster.local'); // 'countersign.dev:svid:cluster.local'
 */
export function clusterTrustBundleName(signerName: string, trustDomain: string): string {
  return `${signerName.replace('/', ':')}:${trustDomain}`;
}

/** Keeps the cluster-wide ClusterTrustBundle of our signer what the bundle says. It writes only where something differs. */
export function publishClusterTrustBundle(options: ClusterTrustBundlePublishing): ClusterTrustBundlePublisher {
  const { client, type, content, clock, log, signal } = options;
  const name = clusterTrustBundleName(options.signerName, options.trustDomain);
  let published: KubeObject | undefined;
  const work = new KeyedWork({ work: () => keep(), parallel: 1, clock, log, signal });

  const keep = async (): Promise<void> => {
    const wanted = content.value;
    if (wanted === undefined || pemIn(published) === wanted.pem) return;
    const before = published;
    try {
      const written = await write(before, wanted);
      if (published === before) published = written;
      log.info({ name }, 'ClusterTrustBundle brought up to date');
    } catch (error) {
      // Made, changed or removed meanwhile: the watch tells.
      if (!['aborted', 'not_found', 'already_exists'].some((code) => isIdentityError(error) && error.code === code)) throw error;
    }
  };

  const write = async (before: KubeObject | undefined, { pem }: BundleContent): Promise<KubeObject> => {
    const spec = { signerName: options.signerName, trustBundle: pem };
    if (before !== undefined) {
      const patch = { metadata: { resourceVersion: before.metadata.resourceVersion }, spec: { trustBundle: pem } };
      return client.patch(type, { name }, patch, { kind: 'merge', signal });
    }
    const owner = await options.owner();
    const labels = { [MANAGED_BY_LABEL]: MANAGED_BY_CONTROLLER };
    const metadata = { name, labels, ...(owner === undefined ? {} : { ownerReferences: [owner] }) };
    return client.create(type, { metadata, spec }, { signal });
  };

  const watch = watchResource({
    client,
    type,
    fieldSelector: `metadata.name=${name}`,
    trim: (object) => object,
    handler: {
      put: (object) => {
        published = object;
        work.add(name);
      },
      remove: () => {
        published = undefined;
        work.add(name);
      },
      synced: () => work.add(name),
    },
    clock,
    log,
    signal,
  });
  const unsubscribe = content.subscribe(() => {
    work.add(name);
  });
  const ended = watch.ended.then(() => {
    unsubscribe();
    return work.idle();
  });
  return {
    watches: [watch],
    ended,
    get failing() {
      return work.failing;
    },
  };
}

function pemIn(object: KubeObject | undefined): string | undefined {
  const spec = object?.['spec'];
  const pem = isRecord(spec) ? spec['trustBundle'] : undefined;
  return typeof pem === 'string' ? pem : undefined;
}
