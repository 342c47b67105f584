// Users of real OpenID providers at services that ask the agent who may call: from sign-in through two exchanges, and everything that is no
// valid token.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import express from 'express';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  authorizeAny,
  createAuthorizationClient,
  createSpiffeHttpsServer,
  parseSpiffeId,
  requireAuthorization,
  X509Source,
  type AuthorizationClient,
  type X509Context,
} from '../../client/index.ts';
import { systemClock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { parseRequestAuthentication } from '../../policy/resources/request-authentication.ts';
import { encodePolicy, encodeRequestAuthentication } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { issuerDocuments, openIdProvider, signIn } from '../support/openid-provider.ts';
import { startTestAgent, type RunningTestAgent } from '../support/running-agent.ts';
import { served, ServiceCaller, type ServiceAnswer } from '../support/spiffe-service.ts';
import { IssuerHost, OWN_ISSUER, TokenRig, type ClientCertificate } from '../support/token-rig.ts';
import { TestIssuer } from '../support/user-tokens.ts';

const resources = new AsyncDisposableStack();
const SERVICES = ['gateway', 'web', 'orders', 'stock'] as const;
type Service = (typeof SERVICES)[number];

const idOf = (service: Service): string => `spiffe://example.org/${service}`;

/** What a provider serves; a test may put another in its place. */
const answers = new Map<string, RequestListener>();
const callers = new Map<Service, ServiceCaller>();
const certificates = new Map<Service, ClientCertificate>();
const ports = new Map<Service, number>();
let people: IssuerHost;
let partners: IssuerHost;
let lab: IssuerHost;
let labIssuer: TestIssuer;
let rogueIssuer: TestIssuer;
let rig: TokenRig;
let agent: RunningTestAgent;
let client: AuthorizationClient;
let skippedMs = 0;

async function issuerHost(name: string): Promise<IssuerHost> {
  return resources.use(await IssuerHost.start((...args) => answers.get(name)?.(...args)));
}

/** The identity of one service of this process, which has all of them. */
function identityOf(source: X509Source, service: Service): Current<X509Context> {
  const own = ({ svids, bundles }: X509Context): X509Context => {
    const svid = svids.find(({ id }) => id.toString() === idOf(service));
    if (svid === undefined) throw new Error(`no SVID for ${service}`);
    return { svids: [svid], bundles };
  };
  return new Current(own(source.value));
}

function certificateOf({ svids: [svid] }: X509Context): ClientCertificate {
  const cert = svid.chain.map(({ raw }) => encodePem('CERTIFICATE', raw)).join('');
  return { cert, key: svid.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

/** Says who calls; with `?next`, asks the next service with a token exchanged for it, as the user. */
function application(service: Service) {
  const app = express().enable('case sensitive routing');
  app.use(requireAuthorization(client, { destinationId: parseSpiffeId(idOf(service)) }));
  app.get('/', async (asked, response) => {
    const { source, user } = asked.authorization ?? {};
    const query = new URL(asked.originalUrl, 'https://service').searchParams;
    const [next, ...rest] = (query.get('next') ?? '').split(',');
    // The cast is sound: anything but a service has no port, and the test fails.
    const further = next === '' ? undefined : await goOn(service, next as Service, { token: tokenIn(asked), rest });
    response.json({
      service,
      source,
      subject: user?.subject,
      issuer: user?.issuer,
      actors: user?.actors,
      roles: user?.claims['roles'],
      further,
    });
  });
  return app;
}

const tokenIn = (asked: IncomingMessage): string => (asked.headers.authorization ?? '').replace('Bearer ', '');

async function goOn(from: Service, to: Service, { token, rest }: { token: string; rest: readonly string[] }): Promise<unknown> {
  const certificate = certificates.get(from);
  if (certificate === undefined) throw new Error(`${from} has no certificate`);
  const { status, body } = await rig.exchange(token, certificate, { audience: to });
  if (status !== 200) return { exchange: status, error: body['error'] };
  const answer = await ask(from, to, { token: String(body['access_token']), next: rest.join(',') });
  return answer.status === 200 ? JSON.parse(answer.body) : answer.status;
}

function ask(from: Service, to: Service, { token, next = '' }: { token?: string; next?: string } = {}): Promise<ServiceAnswer> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const caller = callers.get(from);
  if (caller === undefined) throw new Error(`${from} cannot call`);
  return caller.ask(ports.get(to) ?? 0, { path: next === '' ? '/' : `/?next=${next}`, headers });
}

const meta = (name: string, service: Service) => ({
  apiVersion: 'countersign.dev/v1alpha1',
  metadata: { name, namespace: service },
});

function policy(service: Service, rules: readonly object[]) {
  const parsed = parsePolicy({ ...meta('calls', service), kind: 'AuthorizationPolicy', spec: { rules } });
  return { name: parsed.name, document: encodePolicy(parsed) };
}

function users(service: Service, issuers: readonly object[]) {
  const kind = 'RequestAuthentication';
  const parsed = parseRequestAuthentication({ ...meta('people', service), kind, spec: { tokens: 'Required', issuers } });
  return { name: { kind, namespace: service, name: 'people' }, document: encodeRequestAuthentication(parsed) };
}

function claims(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const seconds = Math.floor(Date.now() / 1000);
  return { iss: lab.url, sub: 'alice', aud: 'web', iat: seconds, exp: seconds + 300, roles: ['buyer'], ...changes };
}

beforeAll(async () => {
  [people, partners, lab] = [await issuerHost('people'), await issuerHost('partners'), await issuerHost('lab')];
  answers.set('people', openIdProvider(people.url, 'first', { realm_access: { roles: ['buyer'] } }));
  answers.set('partners', openIdProvider(partners.url, 'first', { groups: ['visitor'] }));
  labIssuer = new TestIssuer({ name: lab.url, keyId: 'first' });
  answers.set('lab', issuerDocuments(lab.url, [labIssuer.jwk]));
  const rogue = await issuerHost('rogue');
  rogueIssuer = new TestIssuer({ name: rogue.url, keyId: 'first' });
  answers.set('rogue', issuerDocuments(rogue.url, [rogueIssuer.jwk]));
  const broken = await Promise.all(['hangs', 'redirects', 'floods'].map(async (name) => [name, await issuerHost(name)] as const));
  for (const [name, { url }] of broken) brokenIssuers.set(name, url);

  rig = resources.use(
    await TokenRig.start(`
  issuers: [{ issuer: "${people.url}", claims: { roles: realm_access.roles } }, { issuer: "${lab.url}" }]
  rules:
    - { workloads: [${idOf('web')}], addressedAs: [web], audiences: [orders] }
    - { workloads: [${idOf('orders')}], addressedAs: [orders], audiences: [stock], scopes: [read] }`),
  );
  // The keys of the exchange, on a host that the agent can reach.
  const exchange = await issuerHost('exchange');
  answers.set('exchange', (_asked, response) => {
    void rig.send('', { method: 'GET', path: '/oauth2/jwks' }).then(({ body }) => response.end(JSON.stringify(body)));
  });

  const folder = await mkdtemp(join(tmpdir(), 'roots-'));
  resources.defer(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'roots.pem'), IssuerHost.rootPem);
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + skippedMs };
  const yaml = {
    listen: { workload: 'unix:./api.sock', authz: 'unix:./authz.sock' },
    authorization: { allowPrivateHosts: ['localhost'], webRootFiles: [join(folder, 'roots.pem')] },
  };
  agent = resources.use(await startTestAgent(rig.ca, yaml, clock));
  await rig.ca.local(Entry).batchCreateEntry({
    entries: SERVICES.map((service) => ({
      parentId: { trustDomain: 'example.org', path: agent.idPath },
      spiffeId: { trustDomain: 'example.org', path: `/${service}` },
      selectors: [{ type: 'unix', value: `uid:${process.getuid?.() ?? 0}` }],
      countersignWorkload: { namespace: service },
    })),
  });
  const own = { issuer: OWN_ISSUER, jwksUri: `${exchange.url}/oauth2/jwks` };
  const buyers = { users: [{ roles: ['buyer'] }] };
  await rig.ca.local(Policies).setResources({
    resources: [
      policy('web', [{ from: [{ spiffeIDs: [idOf('gateway')], ...buyers }] }]),
      users('web', [
        { issuer: people.url, audiences: ['web'], claims: { roles: 'realm_access.roles' } },
        { issuer: partners.url, audiences: ['web'], claims: { roles: 'groups' } },
        ...[lab, rogue, ...broken.map(([, host]) => host)].map(({ url: issuer }) => ({ issuer, audiences: ['web'] })),
      ]),
      policy('orders', [{ from: [{ spiffeIDs: [idOf('web')], ...buyers }] }]),
      users('orders', [{ ...own, audiences: ['orders'] }]),
      policy('stock', [{ from: [{ spiffeIDs: [idOf('orders')], ...buyers }] }]),
      users('stock', [{ ...own, audiences: ['stock'] }]),
    ],
  });

  client = resources.use(createAuthorizationClient({ socket: join(agent.folder, 'authz.sock'), timeoutMs: 20_000 }));
  const source = resources.use(await allServices());
  for (const service of SERVICES) {
    const identity = identityOf(source, service);
    callers.set(service, resources.use(new ServiceCaller(identity)));
    certificates.set(service, certificateOf(identity.value));
    if (service === 'gateway') continue;
    const server = createSpiffeHttpsServer(identity, { authorize: authorizeAny() }, application(service));
    ports.set(service, resources.use(await served(server)).port);
  }
  const isEnforced = async (): Promise<boolean> => (await ask('gateway', 'web')).status === 401;
  await vi.waitUntil(isEnforced, { timeout: 10_000 });
});
afterAll(() => resources.disposeAsync());

const brokenIssuers = new Map<string, string>();

async function allServices(): Promise<X509Source> {
  const source = await X509Source.open({ address: `unix://${agent.socket}` });
  await vi.waitUntil(() => source.value.svids.length === SERVICES.length, { timeout: 10_000 });
  return source;
}

describe('a user of an OpenID provider', () => {
  test('goes through three services, each of which knows who called on whose behalf', async () => {
    const answer = await ask('gateway', 'web', { token: await signIn(people), next: 'orders,stock' });
    const user = { subject: 'alice', issuer: people.url, roles: ['buyer'] };
    expect(JSON.parse(answer.body)).toMatchObject({
      ...user,
      source: idOf('gateway'),
      actors: [],
      further: {
        ...user,
        source: idOf('web'),
        actors: [{ subject: idOf('web') }],
        further: { ...user, source: idOf('orders'), actors: [{ subject: idOf('orders') }, { subject: idOf('web') }] },
      },
    });
  });

  test('has the rights of its provider’s roles, several providers beside one another', async () => {
    expect(await ask('gateway', 'web', { token: await signIn(partners) })).toMatchObject({ status: 403 });
    expect(await ask('gateway', 'web', { token: await signIn(people) })).toMatchObject({ status: 200 });
    expect(await ask('gateway', 'web', { token: labIssuer.sign(claims()) })).toMatchObject({ status: 200 });
  });

  test('does not go further than its token: another service, another caller', async () => {
    const token = await signIn(people);
    expect(await ask('gateway', 'orders', { token })).toMatchObject({ status: 401 });
    expect(await ask('orders', 'web', { token })).toMatchObject({ status: 403 });
    const exchanged = await rig.exchange(token, certificates.get('web') ?? { cert: '', key: '' }, { audience: 'orders' });
    const forOrders = String(exchanged.body['access_token']);
    expect(await ask('gateway', 'orders', { token: forOrders })).toMatchObject({ status: 403 });
    expect(await ask('gateway', 'stock', { token: forOrders })).toMatchObject({ status: 401 });
    expect(await ask('web', 'orders', { token: forOrders })).toMatchObject({ status: 200 });
  });

  test('is known over a rotation of its provider’s keys, and its old token is not', async () => {
    const old = await signIn(people);
    expect(await ask('gateway', 'web', { token: old })).toMatchObject({ status: 200 });
    answers.set('people', openIdProvider(people.url, 'second', { realm_access: { roles: ['buyer'] } }));
    const token = await signIn(people);
    skippedMs += 31_000;
    expect(await ask('gateway', 'web', { token })).toMatchObject({ status: 200 });
    expect(await ask('gateway', 'web', { token: old })).toMatchObject({ status: 401 });
  });
});

describe('what is no valid token', () => {
  test.each([
    ['none at all', () => undefined],
    ['an empty one', () => ''],
    ['no token', () => 'nonsense'],
    ['no algorithm', () => labIssuer.sign(claims(), { alg: 'none' })],
    ['HS256 with the public key as secret', () => labIssuer.sign(claims(), { alg: 'HS256' })],
    ['an issuer that nobody accepts', () => labIssuer.sign(claims({ iss: 'https://login.attacker.example' }))],
    ['the key of another accepted issuer with the same kid', () => rogueIssuer.sign(claims())],
    ['another audience', () => labIssuer.sign(claims({ aud: 'orders' }))],
    ['no audience', () => labIssuer.sign(claims({ aud: undefined }))],
    ['expired', () => labIssuer.sign(claims({ exp: Math.floor(Date.now() / 1000) - 61 }))],
    ['no expiry', () => labIssuer.sign(claims({ exp: undefined }))],
    ['not yet valid', () => labIssuer.sign(claims({ nbf: Math.floor(Date.now() / 1000) + 120 }))],
    ['a SPIFFE ID as user', () => labIssuer.sign(claims({ sub: idOf('web') }))],
    ['a SPIFFE ID as caller', () => labIssuer.sign(claims({ act: { sub: idOf('web') } }))],
    ['another kind of token', () => labIssuer.sign(claims(), { typ: 'logout+jwt' })],
    ['a critical header', () => labIssuer.sign(claims(), { crit: ['exp'] })],
    ['an exchanged token that the exchange did not sign', () => labIssuer.sign(claims({ iss: OWN_ISSUER }), { typ: 'at+jwt' })],
    ['a signature that was changed', () => `${labIssuer.sign(claims()).slice(0, -6)}AAAAAA`],
  ])('%s: 401 with a challenge', async (_name, token) => {
    const given = token();
    const answer = await ask('gateway', 'web', given === undefined ? {} : { token: given });
    expect([400, 401]).toContain(answer.status);
    expect(answer.headers['www-authenticate']).toMatch(/^Bearer/);
    expect(JSON.stringify(answer)).not.toContain(given === undefined || given === '' ? 'eyJ' : given);
  });

  test('two tokens, and one that is too large', async () => {
    const two = [
      ['Authorization', `Bearer ${labIssuer.sign(claims())}`],
      ['authorization', `Bearer ${labIssuer.sign(claims())}`],
    ] as const;
    const large = [['authorization', `Bearer ${labIssuer.sign(claims({ filler: 'x'.repeat(20_000) }))}`]] as const;
    const base = { sourceId: parseSpiffeId(idOf('gateway')), destinationId: parseSpiffeId(idOf('web')) };
    for (const headers of [two, large]) {
      const answer = await client.authorize({ ...base, request: { method: 'GET', target: '/', headers } });
      expect(answer).toMatchObject({ verdict: 'deny' });
      expect([400, 401, 403]).toContain(answer.status);
    }
    const one = await client.authorize({ ...base, request: { method: 'GET', target: '/', headers: two.slice(1) } });
    expect(one).toMatchObject({ verdict: 'allow' });
  });

  test.each([
    ['hangs', () => {}],
    ['redirects', (_asked, response) => void response.writeHead(302, { location: 'http://169.254.169.254/keys' }).end()],
    [
      'floods',
      (_asked, response) => {
        const chunk = Buffer.alloc(64 * 1024, 0x20);
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 50 * 1024 * 1024 });
        const more = (): void =>
          void (response.destroyed || (response.write(chunk) ? setImmediate(more) : response.once('drain', more)));
        more();
      },
    ],
  ] satisfies [string, RequestListener][])('an issuer whose host %s: 503, and nobody comes in', async (name, listener) => {
    answers.set(name, listener);
    const issuer = new TestIssuer({ name: brokenIssuers.get(name) ?? '' });
    expect(await ask('gateway', 'web', { token: issuer.sign(claims({ iss: issuer.name })) })).toMatchObject({ status: 503 });
    expect(await ask('gateway', 'web', { token: labIssuer.sign(claims()) })).toMatchObject({ status: 200 });
  });
});
