import { parseCertificate } from '../../spiffe/certificate.ts';
import { decodePem } from '../../spiffe/pem.ts';

const MAX_CERTIFICATE_BYTES = 65_536;
const MAX_KEPT = 1_000;

/**
 * Whether certificates name one URI and no other (X.509-SVID §2), as their principal. Envoy takes the first of several for its
 * principal.
 */
export class PeerCertificates {
  #names = new Map<string, string | undefined>();

  /** @param escapedPem the certificate in Envoy's form: PEM, URL-encoded */
  isOf(principal: string, escapedPem: string): boolean {
    if (!this.#names.has(escapedPem)) {
      if (this.#names.size >= MAX_KEPT) this.#names = new Map();
      this.#names.set(escapedPem, onlyUriIn(escapedPem));
    }
    return this.#names.get(escapedPem) === principal;
  }
}

function onlyUriIn(escapedPem: string): string | undefined {
  if (escapedPem.length > MAX_CERTIFICATE_BYTES) return undefined;
  try {
    const [der] = decodePem(decodeURIComponent(escapedPem), 'CERTIFICATE', 'certificate');
    const [uri, ...more] = der === undefined ? [] : parseCertificate(der).uriSans;
    return more.length === 0 ? uri : undefined;
  } catch {
    return undefined;
  }
}
