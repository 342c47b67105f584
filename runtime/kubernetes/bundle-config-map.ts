import type { KubeObject } from './object.ts';

/** Where the bundle is in its ConfigMap: the X.509 authorities as PEM, under the same key as SPIRE's. */
export const BUNDLE_PEM_KEY = 'bundle.crt';
/** Where the SPIFFE bundle document is, for those who validate JWT-SVIDs; absent where only X.509 is published. */
export const BUNDLE_JSON_KEY = 'bundle.json';
/** Marks what Countersign made, and for which trust domain. */
export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by';
export const TRUST_DOMAIN_ANNOTATION = 'countersign.dev/trust-domain';

/** What goes into a bundle ConfigMap. */
export interface BundleContent {
  readonly trustDomain: string;
  /** The X.509 authorities as PEM, one certificate after the other. */
  readonly pem: string;
  /** The bundle as a SPIFFE bundle document (JSON text). */
  readonly document?: string;
}

/** Which ConfigMap, and who keeps it. */
export interface BundleConfigMapName {
  readonly namespace: string;
  readonly name: string;
  /** Value of the managed-by label, such as `countersign-ca`: what it does not name is not touched. */
  readonly managedBy: string;
}

/** The ConfigMap that a bundle is published as, to be given to server-side apply. Pure. */
export function bundleConfigMap({ namespace, name, managedBy }: BundleConfigMapName, content: BundleContent): KubeObject {
  return {
    metadata: {
      namespace,
      name,
      labels: { [MANAGED_BY_LABEL]: managedBy },
      annotations: { [TRUST_DOMAIN_ANNOTATION]: content.trustDomain },
    },
    data: bundleData(content),
  };
}

/** The `data` of a bundle ConfigMap. Pure. */
export function bundleData({ pem, document }: BundleContent): Readonly<Record<string, string>> {
  return { [BUNDLE_PEM_KEY]: pem, ...(document === undefined ? {} : { [BUNDLE_JSON_KEY]: document }) };
}
