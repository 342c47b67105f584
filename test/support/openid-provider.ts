// Real OpenID providers, and what stands in for one where a test signs for itself.
import { generateKeyPairSync } from 'node:crypto';
import type { IncomingMessage, RequestListener } from 'node:http';
import { request } from 'node:https';
import { text as readStream } from 'node:stream/consumers';
import { Provider } from 'oidc-provider';
import { IssuerHost } from './token-rig.ts';

/** A provider that signs with a new key of that ID, and gives JWTs for `web` with these claims. */
export function openIdProvider(issuer: string, keyId: string, claims: Readonly<Record<string, unknown>>): RequestListener {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const client = {
    client_id: 'alice',
    client_secret: 'known-to-this-test',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  };
  const resource = {
    scope: 'read write',
    audience: 'web',
    accessTokenTTL: 3600,
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: 'RS256' } },
  };
  const made = new Provider(issuer, {
    clients: [client],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: keyId, use: 'sig', alg: 'RS256' }] },
    cookies: { keys: ['of this test'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: { enabled: true, getResourceServerInfo: () => resource },
    },
    extraTokenClaims: () => claims,
  });
  return made.callback();
}

/** An access token from a provider, by its own token endpoint. Its user is a client with a secret, since nobody is there to click. */
export async function signIn({ url }: IssuerHost): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const form = { grant_type: 'client_credentials', resource: 'https://web.example.org', scope: 'read write' };
  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    authorization: `Basic ${Buffer.from('alice:known-to-this-test').toString('base64')}`,
  };
  request(`${url}/token`, { method: 'POST', headers, agent: false, ca: IssuerHost.rootPem }, resolve)
    .once('error', reject)
    .end(new URLSearchParams(form).toString());
  // The cast is sound: a provider answers with a JSON object; a missing token makes the test fail.
  return (JSON.parse(await readStream(await promise)) as { access_token: string }).access_token;
}

/** Discovery and keys of an issuer that the test signs for itself. */
export function issuerDocuments(issuer: string, keys: readonly object[]): RequestListener {
  return ({ url }, response) => {
    const isDiscovery = url === '/.well-known/openid-configuration';
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(isDiscovery ? { issuer, jwks_uri: `${issuer}/keys` } : { keys }));
  };
}
