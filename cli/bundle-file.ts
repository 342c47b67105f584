import { Bundle, parseBundleDocument, X509Authority } from '../spiffe/bundle.ts';
import { parsePemCertificates } from '../spiffe/certificate.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';

/**
 * Reads the bundle of a foreign trust domain from PEM certificates or from a SPIFFE bundle document.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseForeignBundle(text: string, trustDomain: TrustDomain, format: 'pem' | 'spiffe'): Bundle {
  if (format === 'spiffe') return parseBundleDocument(text, trustDomain);
  const x509Authorities = parsePemCertificates(text).map(({ raw }) => new X509Authority(raw));
  return new Bundle({ trustDomain, x509Authorities });
}
