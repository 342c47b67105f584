import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { parseJsonObject } from '../../spiffe/strict-json.ts';
import { fetchDocument } from './fetch-document.ts';
import type { FetchOptions } from './fetch-document.ts';

/**
 * Where the keys of an issuer are, by its own word: OpenID Connect Discovery §4, or else the metadata of an OAuth authorization
 * server (RFC 8414 §3).
 *
 * @throws IdentityError as {@link fetchDocument}; `failed_precondition` when the document is another issuer's or names no keys
 */
export async function discoverKeys(issuer: string, options: FetchOptions): Promise<string> {
  const { body } = await fetchMetadata(issuer, options);
  const { issuer: named, jwks_uri: uri } = parseJsonObject(body, 'discovery document');
  // RFC 8414 §3.3: otherwise one issuer could have another's tokens verified with its own keys.
  if (named !== issuer)
    throw new IdentityError('failed_precondition', `the discovery document of ${issuer} is of another issuer`);
  if (typeof uri === 'string') return uri;
  throw new IdentityError(
    'failed_precondition',
    `the discovery document of ${issuer} does not say where its keys are (jwks_uri)`,
  );
}

async function fetchMetadata(issuer: string, options: FetchOptions) {
  const base = issuer.replace(/\/$/, '');
  try {
    return await fetchDocument(`${base}/.well-known/openid-configuration`, options);
  } catch (error) {
    if (!isIdentityError(error, 'not_found')) throw error;
    const { origin, pathname } = new URL(base);
    return fetchDocument(`${origin}/.well-known/oauth-authorization-server${pathname === '/' ? '' : pathname}`, options);
  }
}
