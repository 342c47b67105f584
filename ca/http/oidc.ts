import { formatBundleDocument, type Bundle } from '../../spiffe/bundle.ts';

/**
 * The OpenID Provider Metadata (OpenID Connect Discovery §3) with which a relying party finds the keys of JWT-SVIDs. No
 * endpoint for people is named, because there is none.
 */
export function discoveryDocument(issuer: string): Readonly<Record<string, unknown>> {
  return {
    issuer,
    jwks_uri: `${issuer.replace(/\/$/, '')}/keys`,
    authorization_endpoint: '',
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['RS256', 'ES256', 'ES384'],
  };
}

/** The JWT authorities as a plain JWK set (RFC 7517 §5), for relying parties that know nothing of SPIFFE. */
export function keysDocument(bundle: Bundle): string {
  return formatBundleDocument(bundle, { include: ['jwt'], standardJwks: true });
}
