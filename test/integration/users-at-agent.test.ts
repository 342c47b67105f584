// A user's token on its way through services: from the issuer to the CA's exchange, and to the agent of the service that is called.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { parseRequestAuthentication } from '../../policy/resources/request-authentication.ts';
import { encodePolicy, encodeRequestAuthentication } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Authorization } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { connectGrpc } from '../../runtime/grpc-client.ts';
import { authz } from '../support/policy/policy-objects.ts';
import { startTestAgent } from '../support/running-agent.ts';
import { IssuerHost, OWN_ISSUER, TokenRig } from '../support/token-rig.ts';
import { TestIssuer } from '../support/user-tokens.ts';
import { UnixHttp } from '../support/unix-http.ts';
import { OWN_SELECTOR, own } from '../support/whole-system.ts';

const WEB = 'spiffe://example.org/web';
const resources = new AsyncDisposableStack();

let people: TestIssuer;
let rig: TokenRig;
let ask: (token: string) => Promise<string>;
/** Asks `/authenticate` as a proxy does. @returns the status */
let authenticate: (token?: string) => Promise<number | undefined>;
let metric: (name: string) => Promise<number>;

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'users-'));
  resources.defer(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'roots.pem'), IssuerHost.rootPem);
  const host = await IssuerHost.start((_request, response) => response.end(JSON.stringify({ keys: [people.jwk] })));
  resources.use(host);
  people = new TestIssuer({ name: host.url });
  rig = await TokenRig.start(`
  issuers:
    - { issuer: "${host.url}", jwksUri: "${host.url}/jwks" }
  rules:
    - { workloads: [${WEB}], addressedAs: [web], audiences: [orders] }`);
  resources.use(rig);
  const authorization = { allowPrivateHosts: ['localhost'], webRootFiles: [join(folder, 'roots.pem')] };
  const listen = { workload: 'unix:./api.sock', authz: 'unix:./authz.sock', http: '127.0.0.1:0' };
  const agent = resources.use(await startTestAgent(rig.ca, { authorization, listen }));
  const entry = { spiffeId: own('/orders'), parentId: own(agent.idPath), selectors: [OWN_SELECTOR] };
  await rig.ca.local(Entry).batchCreateEntry({ entries: [{ ...entry, countersignWorkload: { namespace: 'shop' } }] });
  await declare(host.url);
  const connection = resources.use(connectGrpc({ target: { kind: 'unix', path: agent.socket }, clock: systemClock }));
  const client = connection.client(Authorization);
  ask = async (token) => {
    const http = { method: 'GET', path: '/', host: 'orders', headers: { authorization: `Bearer ${token}` } };
    const { dynamicMetadata } = await client.check({ attributes: { source: { principal: WEB }, request: { http } } });
    return JSON.stringify(dynamicMetadata?.['reason']);
  };
  authenticate = async (token) => {
    using proxy = await UnixHttp.open(join(agent.folder, 'authz.sock'));
    const call = 'a1'.repeat(16);
    const said = { Request: 'GET /7 HTTP/1.1', Host: 'orders', Port: '1', Address: 'unix:', Verify: '', Certificate: '' };
    const lines = Object.entries(said).map(([name, value]) => `X-Countersign-${name}: ${call} ${value}\r\n`);
    if (token !== undefined) lines.push(`Authorization: Bearer ${token}\r\n`);
    return (await proxy.ask(`GET /authenticate?call=${call} HTTP/1.1\r\nHost: a\r\n${lines.join('')}\r\n`))?.status;
  };
  metric = async (name) => {
    const lines = (await (await fetch(`http://127.0.0.1:${agent.httpPort}/metrics`)).text()).split('\n');
    return Number(lines.find((line) => line.startsWith(`${name} `))?.slice(name.length + 1));
  };
}, 60_000);

afterAll(() => resources.disposeAsync());

/** Users of the issuer may call, through `/web` only. */
async function declare(issuer: string): Promise<void> {
  const policy = parsePolicy(authz('users', { rules: [{ from: [{ users: [{ issuer }] }], when: `"${WEB}" in user.actors` }] }));
  const authentication = parseRequestAuthentication({
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'RequestAuthentication',
    metadata: { name: 'people', namespace: 'shop' },
    spec: {
      issuers: [
        { issuer, jwksUri: `${issuer}/jwks`, audiences: ['orders'] },
        // Nobody serves that name: its keys come from the CA, on the agent's own stream.
        { issuer: OWN_ISSUER, audiences: ['orders'] },
      ],
      tokens: 'Required',
    },
  });
  const name = { kind: 'RequestAuthentication', namespace: 'shop', name: 'people' };
  await rig.ca.local(Policies).setResources({
    resources: [
      { name: policy.name, document: encodePolicy(policy) },
      { name, document: encodeRequestAuthentication(authentication) },
    ],
  });
}

function userToken(aud: string): string {
  const seconds = Math.floor(Date.now() / 1000);
  return people.sign({ iss: people.name, sub: 'alice', aud, iat: seconds, exp: seconds + 300 });
}

async function until(token: string, reason: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  for (let seen = await ask(token); seen !== JSON.stringify(reason); seen = await ask(token)) {
    if (performance.now() > deadline) throw new Error(`still ${seen}, not ${reason}`);
  }
}

test('a token of the exchange is accepted with its chain of callers; the one that it was made of is not', async () => {
  const token = userToken('web');
  const { status, body } = await rig.exchange(token, await rig.certificateOf('/web'), { audience: 'orders' });
  expect(status).toBe(200);
  await until(String(body['access_token']), 'allowed_by_rule');
  // Of another audience, and then without a caller in it.
  expect(await ask(token)).toBe('"user_refused"');
  expect(await ask(userToken('orders'))).toBe('"no_rule_matches"');
});

test('a token that was verified is known; one that was refused is looked at each time', async () => {
  const [hits, misses] = ['hit', 'miss'].map((outcome) => `countersign_agent_user_token_cache_total{outcome="${outcome}"}`);
  const counts = async (): Promise<readonly number[]> => Promise.all([hits, misses].map((name) => metric(name ?? '')));
  const token = userToken('orders');
  await until(token, 'no_rule_matches');
  const [known = NaN, unknown = NaN] = await counts();
  expect(await ask(token)).toBe('"no_rule_matches"');
  expect(await counts()).toEqual([known + 1, unknown]);
  const refused = userToken('elsewhere');
  for (let count = 0; count < 2; count += 1) expect(await ask(refused)).toBe('"user_refused"');
  expect(await counts()).toEqual([known + 1, unknown + 2]);
});

test('what only looks like a token of the exchange is refused', async () => {
  const seconds = Math.floor(Date.now() / 1000);
  const claims = { iss: OWN_ISSUER, sub: 'alice', aud: 'orders', act: { sub: WEB }, iat: seconds, exp: seconds + 300 };
  expect(await ask(people.sign(claims, { typ: 'at+jwt' }))).toBe('"user_refused"');
  expect(await ask(people.sign({ ...claims, iss: people.name }, { typ: 'at+jwt' }))).toBe('"user_refused"');
});

test('answers of /authenticate are counted, and are no recorded calls', async () => {
  await until(userToken('orders'), 'no_rule_matches');
  const accepted = 'countersign_agent_user_tokens_total{outcome="accepted"}';
  const missing = 'countersign_agent_user_tokens_total{outcome="missing"}';
  const unplaced = 'countersign_agent_calls_not_recorded_total{why="unplaced"}';
  const counts = async (): Promise<readonly number[]> => Promise.all([accepted, unplaced].map((name) => metric(name)));
  const [before = NaN] = await counts();
  expect([await authenticate(userToken('orders')), await authenticate()]).toEqual([200, 401]);
  expect(await counts()).toEqual([before + 1, 0]);
  expect(await metric(missing)).toBe(1);
});
