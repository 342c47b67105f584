import { createServer } from 'node:http';
import express, { type Express, type RequestHandler, type RouterOptions } from 'express';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  authorizeAny,
  createAuthorizationClient,
  createSpiffeHttpsServer,
  requireAuthorization,
  X509BundleSet,
  type AuthorizationClient,
  type RequireAuthorizationOptions,
} from '../../../client/index.ts';
import { systemClock } from '../../../core/clock.ts';
import { AuthorizationRig } from '../../support/authorization-rig.ts';
import { DESTINATIONS } from '../../support/policy/cast.ts';
import { orders } from '../../support/policy/policy-objects.ts';
import { identityOf, served, ServiceCaller } from '../../support/spiffe-service.ts';
import { TestCa } from '../../support/test-ca.ts';

const ca = TestCa.create();
const WEB = 'spiffe://example.org/ns/shop/sa/web';
const policy = orders('web-reads', {
  rules: [{ from: [{ spiffeIDs: [WEB] }], to: [{ methods: ['GET'], paths: [{ prefix: '/orders' }] }] }],
});

describe('requireAuthorization', () => {
  let agent: AuthorizationRig;
  let client: AuthorizationClient;
  const web = new ServiceCaller(identityOf(ca, '/ns/shop/sa/web'));
  const batch = new ServiceCaller(identityOf(ca, '/ns/billing/sa/batch'));

  beforeAll(async () => {
    agent = await AuthorizationRig.start({ ca });
    await agent.enforce(DESTINATIONS.orders, { policies: [policy] });
    client = createAuthorizationClient({ socket: agent.socket });
  });

  afterAll(async () => {
    for (const each of [web, batch, client]) each[Symbol.dispose]();
    await agent[Symbol.asyncDispose]();
  });

  /** An Express application behind mTLS, at whose end is a handler that says who calls. */
  function application(using = client) {
    const app = express().enable('case sensitive routing');
    app.use('/orders', requireAuthorization(using), (request, response) => {
      response.json({ caller: request.authorization?.source, user: request.authorization?.user ?? null });
    });
    return served(createSpiffeHttpsServer(identityOf(ca, '/orders'), { authorize: authorizeAny() }, app));
  }

  it('lets an allowed request through and says who calls', async () => {
    await using service = await application();
    const answer = await web.ask(service.port, { path: '/orders/7?q=1' });
    expect(answer).toMatchObject({ status: 200, body: JSON.stringify({ caller: WEB, user: null }) });
    expect(agent.decided.at(-1)?.call?.request?.path).toBe('/orders/7');
  });

  it('answers what is denied itself', async () => {
    await using service = await application();
    for (const [caller, method] of [
      [web, 'DELETE'],
      [batch, 'GET'],
    ] as const) {
      const answer = await caller.ask(service.port, { path: '/orders/7', method, body: method === 'DELETE' ? 'x' : '' });
      expect(answer).toMatchObject({ status: 403, headers: { 'content-type': 'application/json' } });
      expect(JSON.parse(answer.body)).toMatchObject({ code: 'permission_denied' });
    }
    expect(await web.ask(service.port, { path: '/orders/7' })).toMatchObject({ status: 200 });
  });

  it('knows no caller where the connection proves none', async () => {
    const handler = requireAuthorization(client);
    const server = createServer((request, response) => handler(request, response, () => response.end('reached')));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const answer = await fetch(`http://127.0.0.1:${port}/orders/7`, { headers: { 'x-forwarded-client-cert': `URI=${WEB}` } });
    expect(answer.status).toBe(403);
    expect(agent.decided.at(-1)?.check.sourceId).toBeUndefined();
    server.close().closeAllConnections();
  });

  it('does not accept a certificate that expired on a kept connection', async () => {
    let laterMs = 0;
    const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + laterMs };
    const handler = requireAuthorization(client, { clock });
    await using service = await served(
      createSpiffeHttpsServer(identityOf(ca, '/orders'), { authorize: authorizeAny() }, (request, response) =>
        handler(request, response, () => response.end('reached')),
      ),
    );
    expect(await web.ask(service.port, { path: '/orders/7' })).toMatchObject({ status: 200 });
    laterMs = 2 * 3_600_000;
    expect(await web.ask(service.port, { path: '/orders/7' })).toMatchObject({ status: 401, headers: { connection: 'close' } });
  });

  it('does not accept a certificate whose authority is gone on a kept connection', async () => {
    const identity = identityOf(ca, '/orders');
    const [svid] = identity.value.svids;
    const handler = requireAuthorization(client);
    await using service = await served(
      createSpiffeHttpsServer(identity, { authorize: authorizeAny() }, (request, response) =>
        handler(request, response, () => response.end('reached')),
      ),
    );
    using caller = new ServiceCaller(identityOf(ca, '/ns/shop/sa/web'));
    expect(await caller.ask(service.port, { path: '/orders/7' })).toMatchObject({ status: 200 });
    identity.set({ svids: [svid], bundles: new X509BundleSet([ca.bundle()]) });
    expect(await caller.ask(service.port, { path: '/orders/7' })).toMatchObject({ status: 200 });
    identity.set({ svids: [svid], bundles: new X509BundleSet([TestCa.create().bundle()]) });
    expect(await caller.ask(service.port, { path: '/orders/7' })).toMatchObject({
      status: 401,
      headers: { connection: 'close' },
    });
  });

  describe('with routes that ignore letter case, which policies do not', () => {
    const FAULT = { code: 'failed_precondition' };
    type Change = (app: Express) => unknown;
    const answers: RequestHandler = (_request, response) => void response.send('reached');
    const sensitive: Change = (app) => app.enable('case sensitive routing');
    const router = (options: RouterOptions = {}) => express.Router(options).get('/admin', answers);

    /** What an application answers that is changed before and after it gets the handler, and what it said to its owner. */
    async function outcomeOf(before: Change, after: Change = () => {}, options: RequireAuthorizationOptions = {}) {
      const errors: unknown[] = [];
      const app = express();
      before(app);
      app.use(requireAuthorization(client, { onError: (error) => errors.push(error), ...options }));
      after(app);
      app.get(['/orders/:id', '/admin'], answers);
      await using service = await served(createSpiffeHttpsServer(identityOf(ca, '/orders'), { authorize: authorizeAny() }, app));
      const paths = ['/orders/7', '/ORDERS/7', '/ADMIN', '/admin'];
      const statuses: number[] = [];
      for (const path of paths) statuses.push((await batch.ask(service.port, { path })).status);
      return { statuses, errors };
    }

    beforeAll(() =>
      agent.enforce(DESTINATIONS.orders, {
        policies: [
          orders('all', { rules: [{}] }),
          orders('no-admin', { action: 'DENY', rules: [{ to: [{ paths: [{ prefix: '/admin' }] }] }] }),
        ],
      }),
    );
    afterAll(() => agent.enforce(DESTINATIONS.orders, { policies: [policy] }));

    it('lets requests through where routes tell letter case', async () => {
      const withRouter: Change = (app) => app.use('/x', router({ caseSensitive: true }));
      for (const after of [undefined, withRouter])
        expect(await outcomeOf(sensitive, after)).toEqual({ statuses: [200, 404, 404, 403], errors: [] });
    });

    it.each<[string, Change, Change?]>([
      ['the default of Express', () => {}],
      ['enabled too late', (app) => app.use(express.text()), sensitive],
      ['a router', sensitive, (app) => app.use(router())],
      ['a router in a router', sensitive, (app) => app.use(express.Router({ caseSensitive: true }).use(router()))],
      ['a router in a route', sensitive, (app) => app.get('/{*path}', router())],
      ['a mounted application, which cannot be seen', sensitive, (app) => app.use(express().get('/admin', answers))],
    ])('answers 503 and says why once: %s', async (_what, before, after) => {
      const { statuses, errors } = await outcomeOf(before, after);
      expect(statuses).toEqual([503, 503, 503, 503]);
      expect(errors).toMatchObject([FAULT]);
      expect(String(errors[0])).toMatch(/case sensitive routing|caseSensitive: true/);
    });

    it('looks at the applications that it is mounted in', async () => {
      for (const [isSensitive, status] of [
        [true, 200],
        [false, 503],
      ] as const) {
        const inner = express().enable('case sensitive routing');
        inner.use(requireAuthorization(client, { onError: () => {} }), answers);
        const outer = express();
        if (isSensitive) outer.enable('case sensitive routing');
        outer.use('/orders', inner);
        await using service = await served(
          createSpiffeHttpsServer(identityOf(ca, '/orders'), { authorize: authorizeAny() }, outer),
        );
        expect(await batch.ask(service.port, { path: '/orders/7' })).toMatchObject({ status });
      }
    });

    it('believes who vouches for what cannot be seen', async () => {
      const mounted: Change = (app) => app.use(express().enable('case sensitive routing').get('/admin', answers));
      const vouched = { routesAreCaseSensitive: true };
      expect(await outcomeOf(sensitive, mounted, vouched)).toEqual({ statuses: [200, 404, 404, 403], errors: [] });
    });
  });

  it('denies everything while there is no agent', async () => {
    const errors: unknown[] = [];
    using nobody = createAuthorizationClient({ socket: `${agent.socket}.gone`, onError: (error) => errors.push(error) });
    await using service = await application(nobody);
    const answer = await web.ask(service.port, { path: '/orders/7' });
    expect(answer).toMatchObject({ status: 503 });
    expect(errors).toMatchObject([{ code: 'ENOENT' }]);
  });
});
