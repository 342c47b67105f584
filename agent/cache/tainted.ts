import type { Bundle } from '../../spiffe/bundle.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';

/**
 * Whether a chain, leaf first, leads to a tainted authority of its trust domain's bundle. Authorities are told apart by
 * subject key identifier, as SPIRE does.
 */
export function isSignedByTainted(chainDer: readonly Uint8Array[], bundle: Bundle): boolean {
  const tainted = bundle.x509Authorities.filter((authority) => authority.tainted);
  const last = chainDer.at(-1);
  if (tainted.length === 0 || last === undefined) return false;
  const { authorityKeyId, issuerRaw } = parseCertificate(last);
  return tainted.some(({ certificate }) =>
    authorityKeyId !== undefined && certificate.subjectKeyId !== undefined
      ? Buffer.compare(authorityKeyId, certificate.subjectKeyId) === 0
      : Buffer.compare(issuerRaw, certificate.subjectRaw) === 0,
  );
}
