import { EXCHANGE_GRANT } from './token-request.ts';

/** The metadata of the token exchange as an OAuth authorization server (RFC 8414 §2). There is nothing in it for people. */
export function authorizationServerMetadata(issuer: string): { readonly jwks_uri: string } & Readonly<Record<string, unknown>> {
  return {
    issuer,
    token_endpoint: `${issuer}/oauth2/token`,
    jwks_uri: `${issuer}/oauth2/jwks`,
    response_types_supported: [],
    grant_types_supported: [EXCHANGE_GRANT, 'client_credentials'],
    token_endpoint_auth_methods_supported: ['tls_client_auth', 'private_key_jwt'],
    token_endpoint_auth_signing_alg_values_supported: ['ES256', 'ES384', 'RS256'],
  };
}
