// Users of a real OpenID provider: its tokens verified and exchanged, service by service, with clients that know nothing of us.
import { generateKeyPairSync } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as readStream } from 'node:stream/consumers';
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose';
import { Provider } from 'oidc-provider';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyUserToken } from '../../policy/users/user-token.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { createLogger } from '../../runtime/log.ts';
import { IssuerKeys } from '../../runtime/oidc/issuer-keys.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { runToEnd } from '../support/command.ts';
import { ManualClock } from '../support/manual-clock.ts';
import {
  decoded,
  ACCESS_TOKEN,
  EXCHANGE,
  IssuerHost,
  OWN_ISSUER,
  TokenRig,
  type ClientCertificate,
} from '../support/token-rig.ts';
import { isInstalled } from '../support/toolchain.ts';

const WEB = 'spiffe://example.org/web';
const ORDERS = 'spiffe://example.org/orders';
const log = createLogger({ level: 'fatal', name: 'test' });

let host: IssuerHost;
let answer: RequestListener;
let rig: TokenRig;
let web: ClientCertificate;

/** A provider that signs with a new key of that ID, and gives JWTs for `web`. */
function provider(issuer: string, keyId: string): RequestListener {
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
    extraTokenClaims: () => ({ realm_access: { roles: ['buyer'] } }),
  });
  return made.callback();
}

/** An access token from the provider, by its own token endpoint. Its user is a client with a secret, since nobody is there to click. */
function signIn(): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    resource: 'https://web.example.org',
    scope: 'read write',
  });
  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    authorization: `Basic ${Buffer.from('alice:known-to-this-test').toString('base64')}`,
  };
  request(`${host.url}/token`, { method: 'POST', headers, agent: false, ca: IssuerHost.rootPem }, (response) => {
    // The cast is sound: a provider answers with a JSON object; a missing token makes the test fail.
    readStream(response).then((body) => resolve((JSON.parse(body) as { access_token: string }).access_token), reject);
  })
    .once('error', reject)
    .end(form.toString());
  return promise;
}

beforeAll(async () => {
  host = await IssuerHost.start((...args) => answer(...args));
  answer = provider(host.url, 'first');
  rig = await TokenRig.start(`
  issuers: [{ issuer: "${host.url}", claims: { roles: realm_access.roles } }]
  rules:
    - { workloads: [${WEB}], addressedAs: [web], audiences: [orders] }
    - { workloads: [${ORDERS}], addressedAs: [orders], audiences: [stock], scopes: [read] }`);
  web = await rig.certificateOf('/web');
});
afterAll(async () => {
  await rig[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
});

describe('a user of a real OpenID provider', () => {
  test('is known by its token, over a rotation of the provider’s keys', async () => {
    const clock = new ManualClock(Date.now());
    await using keys = new IssuerKeys({ clock, log, allowPrivateHosts: ['localhost'], rootsPem: [IssuerHost.rootPem] });
    const issuers = [{ issuer: host.url, audiences: ['web'], claims: { roles: 'realm_access.roles' } }];
    const verify = async (token: string) => (await verifyUserToken(token, { issuers, keys, nowMs: clock.nowMs() })).user;
    const first = await signIn();
    expect(await verify(first)).toMatchObject({
      issuer: host.url,
      subject: 'alice',
      claims: { roles: ['buyer'], scope: 'read write' },
    });
    answer = provider(host.url, 'second');
    const second = await signIn();
    clock.advance(30_000);
    expect((await verify(second)).subject).toBe('alice');
    await expect(verify(first)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test('goes through two services, and a stranger verifies what the last one gets', async () => {
    const first = await rig.exchange(await signIn(), web, { audience: 'orders' });
    const second = await rig.exchange(String(first.body['access_token']), await rig.certificateOf('/orders'), {
      audience: 'stock',
    });
    const { body: jwks } = await rig.send('', { method: 'GET', path: '/oauth2/jwks' });
    // The cast is sound: jose checks what it is given.
    const keys = createLocalJWKSet(jwks as unknown as JSONWebKeySet);
    const { payload } = await jwtVerify(String(second.body['access_token']), keys, {
      issuer: OWN_ISSUER,
      audience: 'stock',
      typ: 'at+jwt',
    });
    expect(payload).toMatchObject({
      sub: 'alice',
      subject_issuer: host.url,
      roles: ['buyer'],
      scope: 'read',
      client_id: ORDERS,
      act: { sub: ORDERS, act: { sub: WEB } },
    });
  });
});

test.skipIf(!isInstalled('python3'))('a client in Python exchanges a token over mTLS (needs python3)', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'token-client-'));
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  const { x509Authorities } = await rig.ca.local(Bundle).getBundle({});
  const roots = x509Authorities.map(({ asn1 }) => encodePem('CERTIFICATE', asn1)).join('');
  const files = await Promise.all([file('chain.pem', web.cert), file('key.pem', web.key), file('roots.pem', roots)]);
  const form = { grant_type: EXCHANGE, subject_token: await signIn(), subject_token_type: ACCESS_TOKEN, audience: 'orders' };
  const script = join(import.meta.dirname, '../support/token_client.py');
  const { stdout, stderr } = await runToEnd('python3', [script, String(rig.port), ...files], {
    input: new URLSearchParams(form).toString(),
  });
  await rm(folder, { recursive: true });
  expect(stderr).toBe('');
  // The cast is sound: what the client prints is the endpoint's JSON.
  const { access_token: token } = JSON.parse(stdout) as { access_token: string };
  expect(decoded(token).claims).toMatchObject({ sub: 'alice', aud: 'orders', act: { sub: WEB } });
});
