// Users of a real OpenID provider: its tokens verified and exchanged, service by service, with clients that know nothing of us.
import { readFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyUserToken } from '../../policy/users/user-token.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { createLogger } from '../../runtime/log.ts';
import { IssuerKeys } from '../../runtime/oidc/issuer-keys.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { runToEnd } from '../support/command.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { openIdProvider, signIn } from '../support/openid-provider.ts';
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
/** What the provider says of the user beside who it is. */
const CLAIMS = { realm_access: { roles: ['buyer'] } };
const log = createLogger({ level: 'fatal', name: 'test' });

let host: IssuerHost;
let answer: RequestListener;
let rig: TokenRig;
let web: ClientCertificate;

beforeAll(async () => {
  host = await IssuerHost.start((...args) => answer(...args));
  answer = openIdProvider(host.url, 'first', CLAIMS);
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
    const first = await signIn(host);
    expect(await verify(first)).toMatchObject({
      issuer: host.url,
      subject: 'alice',
      claims: { roles: ['buyer'], scope: 'read write' },
    });
    answer = openIdProvider(host.url, 'second', CLAIMS);
    const second = await signIn(host);
    clock.advance(30_000);
    expect((await verify(second)).subject).toBe('alice');
    await expect(verify(first)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test('goes through two services, and a stranger verifies what the last one gets', async () => {
    const first = await rig.exchange(await signIn(host), web, { audience: 'orders' });
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

test('the request of docs/users.md is answered with a token of the claims that stand there', async () => {
  const guide = readFileSync(join(import.meta.dirname, '../../docs/users.md'), 'utf8');
  const [, form = ''] = /^```http\n[^]*?\n\n([^]*?)^```$/m.exec(guide) ?? [];
  const [, claims = '{}'] = /^```json\n([^]*?)^```$/m.exec(guide) ?? [];
  const sent = form.replaceAll('\n', '').replace('eyJ…', await signIn(host));
  const { status, body } = await rig.send(sent, { identity: web });
  expect(status).toBe(200);
  const given = decoded(body['access_token']);
  expect(given.header).toMatchObject({ typ: 'at+jwt' });
  // The cast is sound: JSON between braces.
  const documented = JSON.parse(claims) as Record<string, unknown>;
  expect(Object.keys(given.claims).toSorted()).toEqual(Object.keys(documented).toSorted());
  const { sub, aud, client_id: clientId, scope, roles, act } = documented;
  expect(given.claims).toMatchObject({ sub, aud, client_id: clientId, scope, roles, act });
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
  const form = { grant_type: EXCHANGE, subject_token: await signIn(host), subject_token_type: ACCESS_TOKEN, audience: 'orders' };
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
