/** What the registration of an identity says of its workload. A part that it does not say is absent. */
export interface WorkloadMetadata {
  readonly namespace?: string;
  readonly serviceAccount?: string;
}

const NAMESPACE = 'k8s:ns:';
const SERVICE_ACCOUNT = 'k8s:sa:';

/**
 * What a registration says of its workload: what it declares, else what its selectors demand. Never the shape of a path.
 *
 * @param selectors as text, such as `k8s:ns:shop`
 * @example
 * metadataOf(undefined, ['k8s:ns:shop', 'k8s:sa:web']); // { namespace: 'shop', serviceAccount: 'web' }
 */
export function metadataOf(declared: WorkloadMetadata | undefined, selectors: Iterable<string>): WorkloadMetadata {
  let { namespace, serviceAccount } = declared ?? {};
  for (const selector of selectors) {
    if (selector.startsWith(NAMESPACE)) namespace ??= selector.slice(NAMESPACE.length);
    else if (selector.startsWith(SERVICE_ACCOUNT)) serviceAccount ??= selector.slice(SERVICE_ACCOUNT.length);
  }
  return { ...(namespace === undefined ? {} : { namespace }), ...(serviceAccount === undefined ? {} : { serviceAccount }) };
}
