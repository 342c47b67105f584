import type { Certificate } from './certificate.ts';
import type { NameConstraints } from './extensions.ts';

/**
 * Why a leaf lies outside the name constraints of a certificate above it (X509-SVID §4.2, RFC 5280 §4.2.1.10); undefined when it
 * lies inside. Constraints on names of other kinds than URI and DNS are not processed and so never met.
 */
export function nameConstraintFault(constraints: NameConstraints, leaf: Certificate): string | undefined {
  const { permitted, excluded } = constraints;
  if (constraints.hasOtherKinds) return 'name constraints of a kind that is not processed';
  for (const uri of leaf.uriSans) {
    const host = hostOf(uri);
    const isExcluded = excluded.uris.some((constraint) => isHostWithin(host, constraint));
    const isPermitted = permitted.uris.length === 0 || permitted.uris.some((constraint) => isHostWithin(host, constraint));
    if (isExcluded || !isPermitted) return 'the SPIFFE ID lies outside of the name constraints';
  }
  for (const name of leaf.dnsSans) {
    const isExcluded = excluded.dnsNames.some((constraint) => isDnsNameWithin(name, constraint));
    const isPermitted = permitted.dnsNames.length === 0 || permitted.dnsNames.some((each) => isDnsNameWithin(name, each));
    if (isExcluded || !isPermitted) return 'a DNS name lies outside of the name constraints';
  }
  return undefined;
}

/** Without a leading dot a URI constraint names one host, with it everything below that domain. */
function isHostWithin(host: string, constraint: string): boolean {
  const wanted = constraint.toLowerCase();
  if (wanted === '') return true;
  return wanted.startsWith('.') ? host.endsWith(wanted) && host.length > wanted.length : host === wanted;
}

/** A DNS constraint names a domain and everything below it. */
function isDnsNameWithin(dnsName: string, constraint: string): boolean {
  const name = dnsName.toLowerCase();
  const wanted = constraint.toLowerCase().replace(/^\./, '');
  return wanted === '' || name === wanted || name.endsWith(`.${wanted}`);
}

function hostOf(uri: string): string {
  return (/^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(uri)?.[1] ?? '').toLowerCase();
}
