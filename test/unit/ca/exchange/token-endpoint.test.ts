import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { createTestKey } from '../../../support/test-keys.ts';
import { TestCa } from '../../../support/test-ca.ts';
import {
  ACCESS_TOKEN,
  decoded,
  EXCHANGE,
  IssuerHost,
  JWT_BEARER,
  OWN_ISSUER,
  TokenRig,
  type ClientCertificate,
} from '../../../support/token-rig.ts';
import { TestIssuer } from '../../../support/user-tokens.ts';

const WEB = 'spiffe://example.org/web';
const ORDERS = 'spiffe://example.org/orders';
const nowSeconds = (): number => Math.floor(Date.now() / 1000);

let host: IssuerHost;
let people: TestIssuer;
let rig: TokenRig;
let web: ClientCertificate;
let orders: ClientCertificate;

beforeAll(async () => {
  host = await IssuerHost.start((request, response) => {
    const metadata = { issuer: people.name, jwks_uri: `${people.name}/jwks` };
    response.end(JSON.stringify(request.url === '/jwks' ? { keys: [people.jwk] } : metadata));
  });
  people = new TestIssuer({ name: host.url });
  const ring = ['/a', '/b', '/c', '/d', '/e', '/f'].map((path) => `spiffe://example.org${path}`).join(', ');
  rig = await TokenRig.start(`
  issuers:
    - { issuer: "${host.url}", claims: { roles: realm_access.roles } }
  rules:
    - { workloads: [${WEB}], addressedAs: [web], audiences: [orders, ${ORDERS}] }
    - { workloads: [${ORDERS}], addressedAs: [orders], audiences: [stock], scopes: [read] }
    - { workloads: [${WEB}], audiences: [orders], grants: [clientCredentials], scopes: [batch] }
    - { workloads: [${ring}], audiences: [${ring}] }`);
  [web, orders] = await Promise.all([rig.certificateOf('/web'), rig.certificateOf('/orders')]);
});
afterAll(async () => {
  await rig[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
});

function userToken(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}, key = people.key): string {
  const base = { iss: people.name, sub: 'alice', aud: 'web', exp: nowSeconds() + 3600, iat: nowSeconds(), scope: 'read write' };
  return people.sign({ ...base, ...claims }, header, key);
}

/** The audit records that were written so far. */
async function audited(): Promise<readonly Record<string, unknown>[]> {
  const lines = (await readFile(join(rig.ca.folder, 'data', 'audit.jsonl'), 'utf8')).trim().split('\n');
  // The cast is sound: the audit log is JSON lines.
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('exchanging the token of a user', () => {
  test('[RFC 8693 §2.2.1, RFC 9068 §2] gives one for the next service, with the caller in act', async () => {
    const { status, headers, body } = await rig.exchange(
      userToken({ realm_access: { roles: ['buyer'] }, email: 'a@example.org' }),
      web,
      { audience: 'orders' },
    );
    expect([status, headers['cache-control'], body['issued_token_type'], body['token_type'], body['scope']]).toEqual([
      200,
      'no-store',
      ACCESS_TOKEN,
      'Bearer',
      'read write',
    ]);
    const { header, claims } = decoded(body['access_token']);
    expect(header).toEqual({ alg: 'ES256', kid: expect.any(String), typ: 'at+jwt' });
    expect(claims).toEqual({
      iss: OWN_ISSUER,
      sub: 'alice',
      subject_issuer: people.name,
      aud: 'orders',
      client_id: WEB,
      scope: 'read write',
      roles: ['buyer'],
      act: { sub: WEB },
      iat: expect.any(Number),
      exp: expect.any(Number),
      jti: expect.any(String),
    });
    expect(Number(claims['exp']) - nowSeconds()).toBeLessThanOrEqual(300);
    expect(Number(body['expires_in'])).toBeLessThanOrEqual(300);
  });

  test('is verified by a stranger with the published keys, which are not those of the bundle', async () => {
    const { body } = await rig.exchange(userToken(), web, { audience: 'orders' });
    const jwks = await rig.send('', { method: 'GET', path: '/oauth2/jwks' });
    // The cast is sound: jose checks what it is given.
    const keys = createLocalJWKSet(jwks.body as unknown as JSONWebKeySet);
    const { payload } = await jwtVerify(String(body['access_token']), keys, {
      issuer: OWN_ISSUER,
      audience: 'orders',
      typ: 'at+jwt',
    });
    expect(payload.sub).toBe('alice');
    const { jwtAuthorities, witAuthorities } = await rig.ca.local(Bundle).getBundle({});
    const ids = [...jwtAuthorities, ...witAuthorities].map(({ keyId }) => keyId);
    expect(ids).not.toContain(decoded(body['access_token']).header['kid']);
    expect(ids).toHaveLength(2);
  });

  test('leaves an audit record, which names neither user nor token', async () => {
    const { body } = await rig.exchange(userToken({ sub: 'somebody-in-particular' }), web, { audience: 'orders' });
    const { claims, header } = decoded(body['access_token']);
    const records = await audited();
    expect(records.filter(({ serial }) => serial === claims['jti'])).toMatchObject([
      {
        kind: 'access-token',
        spiffeId: WEB,
        caller: WEB,
        authorityId: header['kid'],
        expiresAt: new Date(Number(claims['exp']) * 1000).toISOString(),
      },
    ]);
    expect(JSON.stringify(records)).not.toMatch(/somebody-in-particular|eyJ/);
  });

  test('goes on from service to service: the chain grows, scopes and life only shrink, the user stays who it is', async () => {
    const first = await rig.exchange(userToken({ exp: nowSeconds() + 60, realm_access: { roles: ['buyer'] } }), web, {
      audience: 'orders',
    });
    const second = await rig.exchange(String(first.body['access_token']), orders, { audience: 'stock' });
    const [before, after] = [decoded(first.body['access_token']).claims, decoded(second.body['access_token']).claims];
    expect(after).toMatchObject({
      sub: 'alice',
      subject_issuer: people.name,
      aud: 'stock',
      scope: 'read',
      roles: ['buyer'],
      client_id: ORDERS,
      act: { sub: ORDERS, act: { sub: WEB } },
    });
    expect(Number(after['exp'])).toBeLessThanOrEqual(Number(before['exp']));
  });

  test('goes through five services and no further', async () => {
    const paths = ['/a', '/b', '/c', '/d', '/e', '/f'];
    let token = userToken({ aud: 'spiffe://example.org/a' });
    const answers: unknown[] = [];
    for (const [index, path] of paths.entries()) {
      const audience = `spiffe://example.org${paths[(index + 1) % paths.length] ?? ''}`;
      const { status, body } = await rig.exchange(token, await rig.certificateOf(path), { audience });
      answers.push(body['error'] ?? status);
      token = String(body['access_token']);
    }
    expect(answers).toEqual([200, 200, 200, 200, 200, 'invalid_request']);
  });

  test.each([
    ['read', 200, 'read'],
    ['write  read', 200, 'write read'],
    ['admin', 400, 'invalid_scope'],
    ['read admin', 400, 'invalid_scope'],
  ])('with the scope "%s" asked for answers %d', async (scope, status, outcome) => {
    const { body, ...answer } = await rig.exchange(userToken(), web, { audience: 'orders', scope });
    expect([answer.status, body['error'] ?? body['scope']]).toEqual([status, outcome]);
  });

  test('gives no scope where the subject token has none', async () => {
    const { body } = await rig.exchange(userToken({ scope: undefined }), web, { audience: 'orders' });
    expect([body['scope'], decoded(body['access_token']).claims['scope']]).toEqual([undefined, undefined]);
    expect((await rig.exchange(userToken({ scope: undefined }), web, { audience: 'orders', scope: 'read' })).body['error']).toBe(
      'invalid_scope',
    );
  });

  test.each<[string, () => string]>([
    ['for another workload', () => userToken({ aud: 'orders' })],
    ['for another workload, by its SPIFFE ID', () => userToken({ aud: ORDERS })],
    ['of another issuer', () => userToken({ iss: 'https://evil.example.org' })],
    ['that has expired', () => userToken({ exp: nowSeconds() - 120 })],
    ['that expires within the leeway', () => userToken({ exp: nowSeconds() - 5 })],
    ['whose user looks like a workload', () => userToken({ sub: 'spiffe://example.org/admin' })],
    ['that says a workload acted', () => userToken({ act: { sub: ORDERS } })],
    ['signed with another key', () => userToken({}, {}, createTestKey())],
    ['with algorithm none', () => userToken({}, { alg: 'none' })],
    ['that claims to be ours', () => userToken({ iss: OWN_ISSUER }, { typ: 'at+jwt' })],
    ['that is none', () => 'token'],
  ])('refuses a token %s', async (_what, token) => {
    const { status, body } = await rig.exchange(token(), web, { audience: 'orders' });
    expect([status, body['error']]).toEqual([400, 'invalid_request']);
    expect(String(body['error_description'])).not.toMatch(/eyJ|evil|alice/);
  });

  test('refuses a JWT-SVID as the token of a user', async () => {
    const token = await rig.assertionOf('/somebody', 'web');
    expect((await rig.exchange(token, web, { audience: 'orders' })).body['error']).toBe('invalid_request');
  });

  test('refuses an exchanged token to whom it does not address', async () => {
    const { body } = await rig.exchange(userToken(), web, { audience: 'orders' });
    expect((await rig.exchange(String(body['access_token']), web, { audience: 'orders' })).body['error']).toBe('invalid_request');
  });

  test.each([
    ['no audience', {}],
    ['an audience that no rule names', { audience: 'billing' }],
    ['a resource', { audience: 'orders', resource: 'https://orders.example.org' }],
    ['an audience that is too long', { audience: 'x'.repeat(3000) }],
  ])('refuses %s: invalid_target', async (_what, parameters) => {
    const { status, body } = await rig.exchange(userToken(), web, parameters);
    expect([status, body['error']]).toEqual([400, 'invalid_target']);
  });

  test('refuses a workload that no rule names', async () => {
    const stranger = await rig.certificateOf('/stranger');
    const { body } = await rig.exchange(userToken({ aud: 'spiffe://example.org/stranger' }), stranger, { audience: 'orders' });
    expect(body['error']).toBe('invalid_target');
  });

  test('gives a token for one audience at a time', async () => {
    const form = new URLSearchParams({
      grant_type: EXCHANGE,
      subject_token: userToken(),
      subject_token_type: ACCESS_TOKEN,
      audience: 'orders',
    });
    form.append('audience', ORDERS);
    expect((await rig.send(form.toString(), { identity: web })).body['error']).toBe('invalid_target');
  });

  test.each([
    ['no subject token', { subject_token: undefined }],
    ['no type of it', { subject_token_type: undefined }],
    ['a SAML assertion', { subject_token_type: 'urn:ietf:params:oauth:token-type:saml2' }],
    ['a refresh token asked for', { requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }],
    ['an actor token', { actor_token: 'x', actor_token_type: ACCESS_TOKEN }],
  ])('refuses %s: invalid_request', async (_what, parameters) => {
    const { status, body } = await rig.exchange(userToken(), web, { audience: 'orders', ...parameters });
    expect([status, body['error']]).toEqual([400, 'invalid_request']);
  });
});

describe('a token for a workload itself', () => {
  const request = { grant_type: 'client_credentials', audience: 'orders' };

  test('[RFC 6749 §4.4] has the workload as subject, and the scopes of its rules', async () => {
    const { status, body } = await rig.ask(request, { identity: web });
    expect([status, body['scope']]).toEqual([200, 'batch']);
    const { claims } = decoded(body['access_token']);
    expect(claims).toMatchObject({ iss: OWN_ISSUER, sub: WEB, client_id: WEB, aud: 'orders', scope: 'batch' });
    expect([claims['act'], claims['subject_issuer']]).toEqual([undefined, undefined]);
  });

  test('needs a rule that allows it, for this audience, and these scopes', async () => {
    const errors = await Promise.all([
      rig.ask(request, { identity: orders }),
      rig.ask({ ...request, audience: 'stock' }, { identity: orders }),
      rig.ask({ ...request, scope: 'read' }, { identity: web }),
    ]);
    expect(errors.map(({ body }) => body['error'])).toEqual(['invalid_target', 'invalid_target', 'invalid_scope']);
  });

  test('may be exchanged further by the service that it addresses', async () => {
    const { body } = await rig.ask({ ...request, scope: 'batch' }, { identity: web });
    const { claims } = decoded(
      (await rig.exchange(String(body['access_token']), orders, { audience: 'stock' })).body['access_token'],
    );
    expect(claims).toMatchObject({ sub: WEB, aud: 'stock', act: { sub: ORDERS } });
    expect([claims['scope'], claims['subject_issuer']]).toEqual([undefined, undefined]);
  });
});

describe('a client', () => {
  const request = { grant_type: 'client_credentials', audience: 'orders' };
  const assertion = (token: string) => ({ client_assertion_type: JWT_BEARER, client_assertion: token });

  test('[RFC 7523 §3] may be a JWT-SVID whose one audience is the issuer', async () => {
    const token = await rig.assertionOf('/web', OWN_ISSUER);
    expect((await rig.ask({ ...request, ...assertion(token), client_id: WEB })).status).toBe(200);
    expect((await rig.ask({ ...request, ...assertion(token) }, { identity: web })).status).toBe(200);
  });

  test.each<[string, () => Promise<readonly [Record<string, string>, ClientCertificate?]>]>([
    ['nobody', () => Promise.resolve([{}])],
    ['an assertion for another audience', async () => [assertion(await rig.assertionOf('/web', `${OWN_ISSUER}/oauth2/token`))]],
    ['an assertion for others, too', async () => [assertion(await rig.assertionOf('/web', OWN_ISSUER, 'orders'))]],
    [
      'an assertion of another type',
      async () => [{ ...assertion(await rig.assertionOf('/web', OWN_ISSUER)), client_assertion_type: 'saml' }],
    ],
    ['a type without assertion', () => Promise.resolve([{ client_assertion_type: JWT_BEARER }])],
    [
      'an assertion that names another than the certificate',
      async () => [assertion(await rig.assertionOf('/orders', OWN_ISSUER)), web],
    ],
    [
      'an access token as assertion',
      async () => [assertion(String((await rig.ask(request, { identity: web })).body['access_token']))],
    ],
    ['a wrong client_id', () => Promise.resolve([{ client_id: ORDERS }, web])],
    ['a client secret', () => Promise.resolve([{ client_secret: 'x' }, web])],
    ['a certificate of another CA', () => Promise.resolve([{}, foreignCertificate('example.org')])],
    ['a certificate of another trust domain', () => Promise.resolve([{}, foreignCertificate('other.org')])],
    ['a certificate without SPIFFE ID', () => Promise.resolve([{}, foreignCertificate('example.org', { uris: [] })])],
    [
      'a certificate that has expired',
      () => Promise.resolve([{}, foreignCertificate('example.org', { notAfterMs: Date.now() - 1000 })]),
    ],
  ])('that is %s is refused: 401 invalid_client', async (_what, proof) => {
    const [parameters, identity] = await proof();
    const { status, headers, body } = await rig.ask({ ...request, ...parameters }, { identity });
    expect([status, headers['www-authenticate'], body['error']]).toEqual([401, 'Bearer', 'invalid_client']);
  });

  test('with an Authorization header is refused: there are no secrets', async () => {
    const headers = { authorization: 'Basic d2ViOnNlY3JldA==' };
    expect((await rig.ask(request, { identity: web, headers })).body['error']).toBe('invalid_client');
  });
});

describe('the token listener', () => {
  test('[RFC 8414 §3] says what it is', async () => {
    const { status, headers, body } = await rig.send('', { method: 'GET', path: '/.well-known/oauth-authorization-server' });
    expect([status, headers['content-type']]).toEqual([200, 'application/json; charset=utf-8']);
    expect(body).toMatchObject({
      issuer: OWN_ISSUER,
      token_endpoint: `${OWN_ISSUER}/oauth2/token`,
      jwks_uri: `${OWN_ISSUER}/oauth2/jwks`,
    });
  });

  test('publishes public keys only', async () => {
    const { body } = await rig.send('', { method: 'GET', path: '/oauth2/jwks' });
    expect(body).toEqual({
      keys: [
        {
          kty: 'EC',
          crv: 'P-256',
          x: expect.any(String),
          y: expect.any(String),
          kid: expect.any(String),
          use: 'sig',
          alg: 'ES256',
        },
      ],
    });
  });

  test.each([
    ['GET', '/oauth2/token', 405],
    ['PUT', '/oauth2/token', 405],
    ['GET', '/', 404],
    ['GET', '/oauth2/../metrics', 404],
  ])('answers %s %s with %d', async (method, path, status) => {
    expect((await rig.send('', { method, path })).status).toBe(status);
  });

  test.each([
    ['JSON', '{"grant_type":"client_credentials"}', { 'content-type': 'application/json' }, 400, 'invalid_request'],
    ['no grant', 'audience=orders', {}, 400, 'invalid_request'],
    ['a password', 'grant_type=password&audience=orders', {}, 400, 'unsupported_grant_type'],
    ['a parameter twice', 'grant_type=client_credentials&grant_type=client_credentials', {}, 400, 'invalid_request'],
    ['a parameter without value', 'grant_type=client_credentials&audience=', {}, 400, 'invalid_target'],
    [
      'an unknown charset',
      'grant_type=x',
      { 'content-type': 'application/x-www-form-urlencoded; charset=x' },
      415,
      'invalid_request',
    ],
    ['more than 64 KiB', `grant_type=${'x'.repeat(70_000)}`, {}, 413, 'invalid_request'],
  ])('answers %s as it should', async (_what, form, headers, status, error) => {
    const answer = await rig.send(form, { identity: web, headers: { ...headers } });
    expect([answer.status, answer.body['error'], answer.headers['cache-control']]).toEqual([status, error, 'no-store']);
  });
});

test('an issuer that does not answer makes the endpoint say 503, and nothing is issued', async () => {
  await using down = await IssuerHost.start((_request, response) => response.writeHead(500).end());
  await using other = await TokenRig.start(`
  issuers: [{ issuer: "${down.url}" }]
  rules: [{ workloads: [${WEB}], audiences: [orders] }]`);
  const token = new TestIssuer({ name: down.url }).sign({ iss: down.url, sub: 'alice', aud: WEB, exp: nowSeconds() + 60 });
  const { status, headers, body } = await other.exchange(token, await other.certificateOf('/web'), { audience: 'orders' });
  expect([status, body['error'], Number(headers['retry-after']) > 0]).toEqual([503, 'temporarily_unavailable', true]);
});

test('who asks too often is told to wait: 429', async () => {
  await using other = await TokenRig.start('  rules: []', 'rateLimits: { attestation: 0, signing: 3 }');
  const answers = await Promise.all(Array.from({ length: 10 }, () => other.ask({ grant_type: 'client_credentials' })));
  const limited = answers.filter(({ status }) => status === 429);
  expect(limited.length).toBeGreaterThanOrEqual(6);
  expect(limited[0]).toMatchObject({
    body: { error: 'temporarily_unavailable' },
    headers: { 'retry-after': expect.any(String) },
  });
});

/** A certificate that nobody here trusts. */
function foreignCertificate(trustDomain: string, options: Parameters<TestCa['issueX509Svid']>[1] = {}): ClientCertificate {
  const { chainPem, keyPem } = TestCa.create({ trustDomain }).issueX509Svid('/web', options);
  return { cert: chainPem, key: keyPem };
}
