import type { V1ConfigMap, V1ValidatingWebhookConfiguration } from '@kubernetes/client-node';

import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import {
  CLUSTER_TRUST_BUNDLES,
  CONFIG_MAPS,
  VALIDATING_WEBHOOK_CONFIGURATIONS,
} from '../../runtime/kubernetes/resource-types.ts';
import { parsePemCertificates } from '../../spiffe/certificate.ts';
import { authorityDigests } from './ca-check.ts';
import type { ClusterAccess } from './cluster-access.ts';
import type { Finding } from './finding.ts';

const BUNDLE_NAME = 'countersign-bundle';
const BUNDLE_KEY = 'bundle.crt';
const WEBHOOKS = 'countersign';

/** Whether every copy of the bundle in the cluster has the authorities that the CA publishes. */
export async function bundleFindings(cluster: ClusterAccess, authorities: readonly string[]): Promise<readonly Finding[]> {
  const copies = [...(await configMaps(cluster)), ...(await trustBundles(cluster)), ...(await webhooks(cluster))];
  return copies.map(({ subject, pem, remedy }) => compare(subject, { pem, remedy, authorities }));
}

interface Copy {
  readonly subject: string;
  /** Undefined when there is none. */
  readonly pem: string | undefined;
  readonly remedy: string;
}

async function configMaps(cluster: ClusterAccess): Promise<readonly Copy[]> {
  const own = { namespace: cluster.installation.systemNamespace, name: BUNDLE_NAME };
  const bootstrap = await cluster.client.find<V1ConfigMap & KubeObject>(CONFIG_MAPS, own);
  const labelled = await cluster.all<V1ConfigMap & KubeObject>(CONFIG_MAPS, { labelSelector: 'countersign.dev/managed-by' });
  const others = labelled.filter(({ metadata }) => metadata.namespace !== own.namespace && metadata.name === BUNDLE_NAME);
  const copy = (namespace: string, configMap: V1ConfigMap | undefined, remedy: string): Copy => {
    return { subject: `bundle in ${namespace}/${BUNDLE_NAME}`, pem: configMap?.data?.[BUNDLE_KEY], remedy };
  };
  return [
    copy(own.namespace, bootstrap, 'the CA keeps it current: see its /readyz and its role in this namespace'),
    ...others.map((each) => copy(each.metadata.namespace ?? '', each, 'the controller keeps it current: see its log')),
  ];
}

async function trustBundles(cluster: ClusterAccess): Promise<readonly Copy[]> {
  const type = await cluster.client.firstServed(CLUSTER_TRUST_BUNDLES);
  if (type === undefined) return [];
  const all = await cluster.all<KubeObject & { readonly spec?: { signerName?: string; trustBundle?: string } }>(type);
  return all
    .filter(({ spec }) => spec?.signerName?.startsWith('countersign.dev/') === true)
    .map(({ metadata, spec }) => {
      return { subject: `ClusterTrustBundle ${metadata.name}`, pem: spec?.trustBundle, remedy: 'see the controller’s log' };
    });
}

async function webhooks(cluster: ClusterAccess): Promise<readonly Copy[]> {
  const name = { name: WEBHOOKS };
  const found = await cluster.client.find<V1ValidatingWebhookConfiguration & KubeObject>(VALIDATING_WEBHOOK_CONFIGURATIONS, name);
  const remedy = 'kubectl apply -k your overlay: without it nobody judges our resources before they are stored';
  if (found === undefined || (found.webhooks ?? []).length === 0)
    return [{ subject: 'webhook configuration', pem: undefined, remedy }];
  const bundles = new Set((found.webhooks ?? []).map(({ clientConfig }) => clientConfig.caBundle ?? ''));
  return [...bundles].map((base64) => ({
    subject: 'webhook caBundle',
    pem: Buffer.from(base64, 'base64').toString('utf8'),
    remedy: 'the controller keeps it current: see its log; until then changes of our resources are refused',
  }));
}

function compare(
  subject: string,
  { pem, remedy, authorities }: Pick<Copy, 'pem' | 'remedy'> & { readonly authorities: readonly string[] },
): Finding {
  if (pem === undefined || pem.trim() === '') return { level: 'error', subject, text: 'is missing', remedy };
  const digests = authorityDigests(parsePemCertificates(pem).map(({ raw }) => raw));
  const missing = authorities.filter((digest) => !digests.includes(digest)).length;
  const extra = digests.filter((digest) => !authorities.includes(digest)).length;
  if (missing === 0 && extra === 0) return { level: 'ok', subject, text: `agrees with the CA (${digests.length} authorities)` };
  return { level: 'error', subject, text: `lacks ${missing} of the CA's authorities and has ${extra} of others`, remedy };
}
