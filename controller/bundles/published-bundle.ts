import { createHash } from 'node:crypto';

import type { BundleContent } from '../../runtime/kubernetes/bundle-config-map.ts';
import { Bundle, formatBundleDocument } from '../../spiffe/bundle.ts';
import { encodePem } from '../../spiffe/pem.ts';

/**
 * The texts in which a bundle is published; undefined when it has no X.509 authority: an empty bundle would cut off everybody
 * who reads it. The document names keys alone, neither sequence nor refresh hint: it changes when they do.
 */
export function publishedBundle(bundle: Bundle): BundleContent | undefined {
  if (bundle.x509Authorities.length === 0) return undefined;
  const certificates = bundle.x509Authorities.map(({ der }) => encodePem('CERTIFICATE', der));
  return {
    trustDomain: bundle.trustDomain.name,
    // A certificate that is there twice is refused by ClusterTrustBundle.
    pem: [...new Set(certificates)].join(''),
    document: formatBundleDocument(keysOf(bundle)),
  };
}

function keysOf({ trustDomain, x509Authorities, jwtAuthorities, witAuthorities }: Bundle): Bundle {
  const tokens = { jwtAuthorities: jwtAuthorities.values(), witAuthorities: witAuthorities.values() };
  return new Bundle({ trustDomain, x509Authorities, ...tokens });
}

/** A short form of texts, to tell whether they changed without keeping them. */
export function digestOf(texts: Readonly<Record<string, unknown>>): string {
  const sorted = Object.entries(texts).sort(([one], [other]) => (one < other ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('base64');
}
