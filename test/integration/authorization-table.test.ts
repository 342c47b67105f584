// Every call of the conformance table, through nginx and through the middleware: the same answers as the engine's.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  authorizeAny,
  createAuthorizationClient,
  createSpiffeHttpsServer,
  requireAuthorization,
  type AuthorizationCall,
  type AuthorizationClient,
} from '../../client/index.ts';
import { formatIpAddress } from '../../policy/match/ip.ts';
import { AuthorizationRig } from '../support/authorization-rig.ts';
import type { Arrived } from '../support/echo-server.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { canHaveNginx } from '../support/nginx.ts';
import { NginxRig } from '../support/nginx-rig.ts';
import { CALLERS, DESTINATIONS } from '../support/policy/cast.ts';
import { SCENARIOS } from '../support/policy/conformance-table.ts';
import { carriedTo, ENFORCEMENT_POINTS, type EnforcementPoint, PointRun } from '../support/policy/enforcement-points.ts';
import { Differences } from '../support/policy/http-differences.ts';
import { acceptingUsers, REGISTERED, requestOf, TABLE_KEYS, TABLE_TIME_MS } from '../support/policy/table-requests.ts';
import { type Row, type Scenario, written } from '../support/policy/table-types.ts';
import { sendRaw } from '../support/raw-http.ts';
import { identityOf, served } from '../support/spiffe-service.ts';
import { TestCa, type IssuedSvid } from '../support/test-ca.ts';

const ca = TestCa.create();
const partner = TestCa.create({ trustDomain: 'partner.example' });
const certificates = new Map<string, IssuedSvid | undefined>(
  Object.entries(CALLERS).map(([name, { spiffeId }]) => {
    const issuer = spiffeId?.trustDomain.name === 'partner.example' ? partner : ca;
    return [name, spiffeId && issuer.issueX509Svid(spiffeId.path)];
  }),
);
const table = SCENARIOS.map((scenario) => [scenario.title, scenario] as const);

function startAgent(): Promise<AuthorizationRig> {
  const clock = new ManualClock(TABLE_TIME_MS);
  return AuthorizationRig.start({ ca, federated: [partner.bundle()], metadata: REGISTERED, keys: TABLE_KEYS, clock });
}

/** Puts the policies in force for a row; what the agent then decided last is the answer. */
async function answerTo(agent: AuthorizationRig, scenario: Scenario, row: Row, ask: () => Promise<number>): Promise<string> {
  const [, , , { to = 'orders', user } = {}] = row;
  const destination = DESTINATIONS[to];
  await agent.enforce(destination, { ...scenario, authentications: user === undefined ? [] : [acceptingUsers(destination)] });
  agent.decided.length = 0;
  const status = await ask();
  const [decided] = agent.decided;
  if (decided === undefined) return `not asked, ${status}`;
  const { verdict, decision, reason } = decided.outcome;
  expect(status === 200).toBe(verdict === 'allow');
  return decision === undefined ? reason : written(decision);
}

function expectAllAsked(point: EnforcementPoint, run: PointRun): void {
  expect(run.asked).toBe(carriedTo(point));
  expect(run.widened).toEqual([]);
  const met = new Differences(point.differences);
  for (const { title, rows } of SCENARIOS) for (const row of rows) met.of(title, row);
  expect(met.unmet).toEqual([]);
}

/** What came through to the service. */
function arrivedAt(request: IncomingMessage | undefined): Arrived | undefined {
  if (request === undefined) return undefined;
  const { method = '', url: target = '', rawHeaders: raw } = request;
  const headers = raw.flatMap((name, at) => (at % 2 === 0 ? [[name.toLowerCase(), raw[at + 1] ?? ''] as const] : []));
  return { method, target, headers };
}

const addressOf = ([caller]: Row): string => formatIpAddress(CALLERS[caller].address ?? []);
const portOf = ([, , , { to = 'orders' } = {}]: Row): number => DESTINATIONS[to].port;

describe.skipIf(!canHaveNginx)('the conformance table through nginx (needs nginx, or apt-get)', () => {
  const resources = new AsyncDisposableStack();
  const { nginx: point } = ENFORCEMENT_POINTS;
  const run = new PointRun();
  let agent: AuthorizationRig;
  let nginx: NginxRig;

  beforeAll(async () => {
    agent = resources.use(await startAgent());
    const identity = ca.issueX509Svid('/nginx');
    // The table's addresses and ports are not of this machine: the client says which to take, and callers without certificate come as well.
    const edit = (text: string): string =>
      text
        .replace('ssl_verify_client on', 'ssl_verify_client optional')
        .replace('$realip_remote_addr', '$http_x_table_address')
        .replace('$server_port', '$http_x_table_port')
        .replace('proxy_pass_request_body off;', '$& proxy_set_header X-Table-Address ""; proxy_set_header X-Table-Port "";');
    nginx = resources.use(await NginxRig.start({ authz: agent.socket, identity, roots: ca.rootPem + partner.rootPem, edit }));
  });
  afterAll(() => resources.disposeAsync());

  test.each(table)('%s', async (_title, scenario) => {
    const wrong: object[] = [];
    for (const row of scenario.rows) {
      const [caller] = row;
      if (point.whyNot(row) !== undefined) continue;
      const { headers, ...request } = requestOf(row);
      const more = [...headers, ['X-Table-Address', addressOf(row)] as const, ['X-Table-Port', String(portOf(row))] as const];
      const answer = await answerTo(agent, scenario, row, async () => {
        const { status } = await nginx.ask({ ...request, host: null, headers: more }, certificates.get(caller));
        return status;
      });
      await run.note(scenario, row, answer.startsWith('allow'), arrivedAt(nginx.served.at(-1)));
      if (answer !== point.answerTo(scenario, row)) wrong.push({ row, answer });
    }
    expect(wrong).toEqual([]);
  });

  test('all that can be carried was asked; nothing goes on that the engine denies as it goes on', () =>
    expectAllAsked(point, run));
});

describe('the conformance table through the middleware', () => {
  const resources = new AsyncDisposableStack();
  const { middleware: point } = ENFORCEMENT_POINTS;
  const run = new PointRun();
  let agent: AuthorizationRig;
  let client: AuthorizationClient;
  let row: Row;
  let ports: { readonly mtls: number; readonly plain: number };

  beforeAll(async () => {
    agent = resources.use(await startAgent());
    client = resources.use(createAuthorizationClient({ socket: agent.socket }));
    // The table's addresses and ports are not of this machine.
    const ask = (call: AuthorizationCall) => client.authorize({ ...call, sourceAddress: addressOf(row), port: portOf(row) });
    const handle = requireAuthorization({ ...client, authorize: ask });
    const listener: RequestListener = (request, response) => handle(request, response, () => response.end());
    const identity = identityOf(ca, '/service', {}, [partner.bundle()]);
    const mtls = resources.use(await served(createSpiffeHttpsServer(identity, { authorize: authorizeAny() }, listener)));
    const plain = createServer({ requireHostHeader: false }, listener).listen(0, '127.0.0.1');
    await once(plain, 'listening');
    resources.defer(() => plain.close().closeAllConnections());
    // A TCP server's address is never a path.
    ports = { mtls: mtls.port, plain: (plain.address() as AddressInfo).port };
  });
  afterAll(() => resources.disposeAsync());

  async function statusOf(): Promise<number> {
    const [caller, line] = row;
    const certificate = certificates.get(caller);
    if (line === 'connect') {
      const { spiffeId: sourceId } = CALLERS[caller];
      return (await client.authorize({ sourceId, sourceAddress: addressOf(row), port: portOf(row) })).status;
    }
    const { method, target, headers } = requestOf(row);
    const lines = [`${method} ${target} HTTP/1.1`, 'Connection: close', ...headers.map(([name, value]) => `${name}: ${value}`)];
    const tls = certificate && { tls: { certificate: { cert: certificate.chainPem, key: certificate.keyPem } } };
    return (await sendRaw({ port: tls === undefined ? ports.plain : ports.mtls, ...tls }, lines)).status;
  }

  test.each(table)('%s', async (_title, scenario) => {
    const wrong: object[] = [];
    for (row of scenario.rows) {
      if (point.whyNot(row) !== undefined) continue;
      const answer = await answerTo(agent, scenario, row, statusOf);
      await run.note(scenario, row, answer.startsWith('allow'));
      if (answer !== point.answerTo(scenario, row)) wrong.push({ row, answer });
    }
    expect(wrong).toEqual([]);
  });

  test('all that can be carried was asked; nothing goes on that the engine denies as it goes on', () =>
    expectAllAsked(point, run));
});
