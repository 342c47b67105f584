// Real nginx with the configuration of docs/nginx.md asks the agent about each request.
import { connect as connectHttp2 } from 'node:http2';
import { createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseRequestAuthentication } from '../../policy/resources/request-authentication.ts';
import { IdentityError } from '../../core/errors.ts';
import { AuthorizationRig, type RigPolicy } from '../support/authorization-rig.ts';
import { canHaveNginx } from '../support/nginx.ts';
import { guideConfiguration, NginxRig, readGuide } from '../support/nginx-rig.ts';
import { DESTINATIONS } from '../support/policy/cast.ts';
import { orders } from '../support/policy/policy-objects.ts';
import { TestCa } from '../support/test-ca.ts';
import { ISSUER, keysOf, TestIssuer } from '../support/user-tokens.ts';

const ca = TestCa.create();
const partner = TestCa.create({ trustDomain: 'partner.example' });
const WEB = '/ns/shop/sa/web';
const web = ca.issueX509Svid(WEB);
const other = ca.issueX509Svid('/ns/shop/sa/other');
const orderService = ca.issueX509Svid('/ns/shop/sa/orders');
const issuer = new TestIssuer();
const away = 'https://away.example.org';

const WEB_READS: RigPolicy = {
  policies: [
    orders('web-reads', {
      rules: [
        { from: [{ spiffeIDs: [`spiffe://example.org${WEB}`] }], to: [{ methods: ['GET'], paths: [{ prefix: '/orders' }] }] },
      ],
    }),
    orders('no-admin', { action: 'DENY', rules: [{ to: [{ paths: [{ prefix: '/orders/admin' }] }] }] }),
  ],
};

const people = parseRequestAuthentication({
  apiVersion: 'countersign.dev/v1alpha1',
  kind: 'RequestAuthentication',
  metadata: { name: 'people', namespace: 'shop' },
  spec: {
    tokens: 'Required',
    issuers: [
      { issuer: ISSUER, audiences: ['orders'] },
      { issuer: away, audiences: ['orders'] },
    ],
  },
});

const keys = {
  keysOf: async (named: { readonly issuer: string }, keyId: string | undefined) => {
    if (named.issuer === away) throw new IdentityError('unavailable', 'the issuer does not answer');
    return keysOf(issuer).keysOf(named, keyId);
  },
};

function tokenOf(claims: Readonly<Record<string, unknown>> = {}, by = issuer): string {
  const seconds = Math.floor(Date.now() / 1000);
  return by.sign({ iss: by.name, sub: 'alice', aud: 'orders', iat: seconds, exp: seconds + 300, ...claims });
}

describe.skipIf(!canHaveNginx)('nginx auth_request (needs nginx, or apt-get)', () => {
  let agent: AuthorizationRig;
  let nginx: NginxRig;

  const start = (edit?: (configuration: string) => string, authz = agent.socket): Promise<NginxRig> =>
    NginxRig.start({ authz, identity: orderService, roots: ca.rootPem + partner.rootPem, ...(edit && { edit }) });

  /** What nginx answered, and whether the service saw the request. */
  async function outcomeOf(given: Parameters<NginxRig['ask']>[0], by = web, at = nginx) {
    const before = at.served.length;
    const { status, headers } = await at.ask(given, by);
    return { status, headers, reached: at.served.length > before };
  }

  beforeAll(async () => {
    agent = await AuthorizationRig.start({ ca, keys });
    await agent.enforce(DESTINATIONS.orders, WEB_READS);
    nginx = await start();
  });

  afterAll(async () => {
    await nginx[Symbol.asyncDispose]();
    await agent[Symbol.asyncDispose]();
  });

  test('lets an allowed request through, and the service learns who calls', async () => {
    const answer = await nginx.ask(
      { target: '/orders/7?q=1', headers: [['X-Countersign-Source', 'spiffe://example.org/root']] },
      web,
    );
    expect(answer).toMatchObject({ status: 200, body: 'served' });
    expect(nginx.served.at(-1)?.headers).toMatchObject({ 'x-countersign-source': `spiffe://example.org${WEB}` });
    expect(agent.decided.at(-1)).toMatchObject({
      call: { request: { path: '/orders/7', host: 'orders', method: 'GET' }, destination: { port: nginx.port } },
    });
    expect(agent.faults).toEqual([]);
  });

  test('answers 403 to what is not allowed', async () => {
    expect(await outcomeOf({ target: '/orders/7', method: 'DELETE' })).toMatchObject({ status: 403, reached: false });
    expect(await outcomeOf({ target: '/admin' })).toMatchObject({ status: 403, reached: false });
    expect(await outcomeOf({ target: '/orders/7' }, other)).toMatchObject({ status: 403, reached: false });
  });

  test('asks over HTTP/2 as well', async () => {
    const session = connectHttp2(`https://127.0.0.1:${nginx.port}`, {
      rejectUnauthorized: false,
      cert: web.chainPem,
      key: web.keyPem,
    });
    const ask = async (path: string, more: Record<string, string> = {}) => {
      const stream = session.request({ ':path': path, ':authority': 'orders', ...more });
      const status = new Promise((resolve) => stream.once('response', (headers) => resolve(headers[':status'])));
      await text(stream);
      return status;
    };
    expect(await ask('/orders/7')).toBe(200);
    expect(agent.decided.at(-1)?.call?.request?.host).toBe('orders');
    expect(await ask('/orders/%61dmin')).toBe(403);
    expect(await ask('/orders/7', { host: 'other' })).toBe(400);
    session.close();
  });

  test.each([
    '//orders/admin',
    '/orders//admin',
    '/orders/./admin',
    '/orders/x/../admin',
    '/orders/%61dmin',
    '/orders/%2e/admin',
    '/orders/x/%2e%2e/admin',
    '/orders%2fadmin',
    '/orders/%2561dmin',
    '/orders/admin/',
    '/orders/admin.',
    '/orders/admin;x=1',
    '/orders\\admin',
    '/orders/admin%00',
    '/orders/admin%20',
    '/../orders/admin',
    '/orders/admin#x',
    `/orders/${'a'.repeat(8180)}`,
    '/orders/\u00e9',
    'http://orders/orders/admin',
  ])('no trick with the path reaches the service: %.40s', async (target) => {
    const { status, reached } = await outcomeOf({ target });
    expect(reached).toBe(false);
    expect([400, 403, 414]).toContain(status);
  });

  test('the client cannot speak for nginx', async () => {
    const forged = ['method GET', 'target /orders/7', 'host orders', 'port 1', 'address 10.0.0.1', 'verify SUCCESS'].map(
      (each) => {
        const [name = '', value = ''] = each.split(' ');
        return [`X-Countersign-${name}`, `${'0'.repeat(32)} ${value}`] as const;
      },
    );
    const escaped = encodeURIComponent(web.chainPem);
    const headers = [...forged, ['X-Countersign-Certificate', `${'0'.repeat(32)} ${escaped}`] as const];
    const more = [
      ['X-Forwarded-Client-Cert', `URI=spiffe://example.org${WEB}`],
      ['X-Forwarded-For', '10.0.0.1'],
      ['X-Original-URI', '/orders/7'],
    ] as const;
    expect(await outcomeOf({ target: '/orders/7', headers: [...headers, ...more] }, other)).toMatchObject({
      status: 403,
      reached: false,
    });
    expect(await outcomeOf({ target: '/orders/admin', headers })).toMatchObject({ status: 403, reached: false });
    expect(agent.decided.at(-1)?.check).toMatchObject({ sourceAddress: '127.0.0.1', port: nginx.port });
    expect(agent.faults).toEqual([]);
    expect(await outcomeOf({ target: '/_countersign', headers })).toMatchObject({ reached: false });
  });

  test('the service hears nothing under our names but from nginx', async () => {
    const findings = ['Source', 'User', 'User-Issuer', 'Reason', 'Policy', 'Rule', 'Destination'];
    const sealed = ['Request', 'Host', 'Port', 'Address', 'Verify', 'Certificate'];
    const names = [...findings, ...sealed].map((name) => `X-Countersign-${name}`);
    const spelled = names.flatMap((name) => [name, name.replaceAll('-', '_'), name.replace('-', '_'), name.replaceAll('-', '.')]);
    const headers = spelled.map((name) => [name, 'forged'] as const);
    expect(await outcomeOf({ target: '/orders/7', headers })).toMatchObject({ status: 200, reached: true });
    const { rawHeaders = [] } = nginx.served.at(-1) ?? {};
    const heard = rawHeaders.flatMap((name, at) =>
      at % 2 === 0 && /countersign/i.test(name) ? [[name, rawHeaders[at + 1]]] : [],
    );
    expect(heard).toEqual([['X-Countersign-Source', `spiffe://example.org${WEB}`]]);
    const rules = [...guideConfiguration().matchAll(/proxy_set_header (X-Countersign-\S+) (?!"\$request_id)/g)];
    expect(new Set(rules.map(([, name]) => name))).toEqual(new Set(names));
  });

  test('the service gets the path that was decided about, or what the guide says of two slashes', async () => {
    for (const target of ['/orders//7', '/orders/7/', '/orders/%37?q=//'])
      expect(await outcomeOf({ target })).toMatchObject({ status: 200, reached: true });
    expect(nginx.served.slice(-3).map(({ url }) => url)).toEqual(['/orders//7', '/orders/7/', '/orders/%37?q=//']);
    const [line = ''] = /if \(\$request_uri ~ .*?\}/.exec(readGuide()) ?? [];
    await using strict = await start((configuration) => configuration.replace('auth_request /', `${line}\n auth_request /`));
    for (const target of ['//orders/7', '/orders//7', 'http://orders//orders/7'])
      expect(await outcomeOf({ target }, web, strict)).toMatchObject({ status: 400, reached: false });
    for (const target of ['/orders/7', '/orders/7?q=//', 'http://orders/orders/7'])
      expect(await outcomeOf({ target }, web, strict)).toMatchObject({ status: 200, reached: true });
  });

  test('one host, and one of each header that must be one', async () => {
    expect(await outcomeOf({ target: '/orders/7', headers: [['Host', 'other']] })).toMatchObject({ status: 400, reached: false });
    expect(await outcomeOf({ target: '/orders/7', host: 'a/b' })).toMatchObject({ status: 400, reached: false });
    expect(await outcomeOf({ target: '/orders/7', host: 'a@b' })).toMatchObject({ status: 403, reached: false });
    const tokens = [
      ['Authorization', 'Bearer a'],
      ['authorization', 'Bearer b'],
    ] as const;
    expect(await outcomeOf({ target: '/orders/7', headers: tokens })).toMatchObject({ status: 400, reached: false });
    const types = [
      ['Content-Type', 'text/plain'],
      ['content-type', 'application/json'],
    ] as const;
    expect(await outcomeOf({ target: '/orders/7', headers: types })).toMatchObject({ status: 403, reached: false });
    expect(agent.decided.at(-1)?.outcome.reason).toBe('header_repeated');
  });

  test('the agent sees the headers of the client that nginx would keep for itself', async () => {
    const headers = [
      ['Upgrade', 'websocket'],
      ['TE', 'trailers'],
      ['Expect', '100-continue'],
      ['X-Tenant', 'a'],
      ['x-tenant', 'b'],
      ['Content-Length', '5'],
    ] as const;
    await outcomeOf({ target: '/orders/7', method: 'POST', headers, body: 'abcde' });
    const seen = agent.decided.at(-1)?.call?.request?.headers;
    expect(Object.fromEntries(seen ?? [])).toEqual({
      upgrade: 'websocket',
      te: 'trailers',
      expect: '100-continue',
      'x-tenant': 'a, b',
    });
  });

  test('a request without Host, and one of old HTTP, is decided as it is', async () => {
    const old = await nginx.connect(web);
    old.write('GET /orders/7 HTTP/1.0\r\n\r\n');
    const answer = await text(old);
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
    expect(agent.decided.at(-1)?.call?.request).toMatchObject({ host: '', path: '/orders/7' });
  });

  test('a certificate counts for its own trust domain only', async () => {
    // nginx trusts both authorities and lets each sign for anybody.
    const impostor = partner.issueX509Svid(WEB, { uris: [`spiffe://example.org${WEB}`] });
    expect(await outcomeOf({ target: '/orders/7' }, impostor)).toMatchObject({ status: 403, reached: false });
    expect(await outcomeOf({ target: '/orders/7' }, partner.issueX509Svid(WEB))).toMatchObject({ status: 403, reached: false });
    await using optional = await start((configuration) =>
      configuration.replace('ssl_verify_client on', 'ssl_verify_client optional_no_ca'),
    );
    const selfMade = TestCa.create().issueX509Svid(WEB);
    expect(await outcomeOf({ target: '/orders/7' }, selfMade, optional)).toMatchObject({ status: 403, reached: false });
    expect(await outcomeOf({ target: '/orders/7' }, web, optional)).toMatchObject({ status: 200, reached: true });
  });

  test.each(['Request', 'Host', 'Port', 'Address', 'Verify', 'Certificate'])(
    'a configuration that forgot X-Countersign-%s denies, whatever the client sends',
    async (name) => {
      await using forgetful = await start((configuration) =>
        configuration.replace(new RegExp(`^.*X-Countersign-${name} "\\$request_id .*$`, 'm'), ''),
      );
      agent.faults.splice(0);
      expect(await outcomeOf({ target: '/orders/7' }, web, forgetful)).toMatchObject({ status: 403, reached: false });
      const values = {
        Method: 'GET',
        Target: '/orders/7',
        Host: 'orders',
        Port: '8443',
        Address: '127.0.0.1',
        Verify: 'SUCCESS',
      };
      const value = { ...values, Certificate: encodeURIComponent(web.chainPem) }[name] ?? '';
      for (const seal of ['', `${'0'.repeat(32)} `, '$request_id ']) {
        const headers = [[`X-Countersign-${name}`, `${seal}${value}`] as const];
        expect(await outcomeOf({ target: '/orders/7', headers }, web, forgetful)).toMatchObject({ status: 403, reached: false });
      }
      const field = `x-countersign-${name.toLowerCase()}`;
      expect(agent.faults).toMatchObject(Array.from({ length: 4 }, () => ({ code: 'failed_precondition', field })));
      agent.faults.splice(0);
    },
  );

  test('a configuration that forgot the body or the seal denies', async () => {
    for (const line of ['proxy_set_header Content-Length "";', '?call=$request_id']) {
      await using forgetful = await start((configuration) => configuration.replace(line, ''));
      const post = { target: '/orders/7', method: 'POST', headers: [['Content-Length', '5']], body: 'abcde' } as const;
      expect(await outcomeOf(post, web, forgetful)).toMatchObject({ status: 403, reached: false });
      expect(agent.faults.splice(0)).toMatchObject([{ code: 'failed_precondition' }]);
    }
  });

  test('users: 401 with a challenge, 403, and 500 where it cannot be told', async () => {
    await agent.enforce(DESTINATIONS.orders, {
      policies: [orders('alice', { rules: [{ from: [{ users: [{ issuer: ISSUER, subjects: ['alice'] }] }] }] })],
      authentications: [people],
    });
    const as = (token: string) => outcomeOf({ target: '/orders/7', headers: [['Authorization', `Bearer ${token}`]] });
    const missing = await outcomeOf({ target: '/orders/7' });
    expect(missing).toMatchObject({ status: 401, reached: false });
    expect(missing.headers.get('www-authenticate')).toBe('Bearer');
    const bad = await as(tokenOf({ exp: 1 }));
    expect(bad).toMatchObject({ status: 401, reached: false });
    expect(bad.headers.get('www-authenticate')).toContain('error="invalid_token"');
    expect(await as('a b')).toMatchObject({ status: 401, reached: false });
    expect(await as(tokenOf({ sub: 'bob' }))).toMatchObject({ status: 403, reached: false });
    expect(await as(tokenOf({ iss: away }))).toMatchObject({ status: 500, reached: false });
    expect(await as(tokenOf())).toMatchObject({ status: 200, reached: true });
    expect(nginx.served.at(-1)?.headers).toMatchObject({ 'x-countersign-user': 'alice', 'x-countersign-user-issuer': ISSUER });
    await agent.enforce(DESTINATIONS.orders, WEB_READS);
  });

  test('users by a header that a RequestAuthentication names, and by no other', async () => {
    const named = { ...people, headers: ['X-User-Token', 'X-Other-Token'] };
    for (const edit of [undefined, (text: string) => text.replace('/authorize?', '/authenticate?')]) {
      await agent.enforce(DESTINATIONS.orders, { policies: [orders('all', { rules: [{}] })], authentications: [named] });
      await using asking = await start(edit);
      const as = async (...headers: readonly (readonly [string, string])[]) =>
        outcomeOf({ target: '/orders/7', headers }, web, asking);
      const token = tokenOf();
      for (const value of [token, `Bearer ${token}`, `bearer  ${token} `]) {
        expect(await as(['x-user-token', value])).toMatchObject({ status: 200, reached: true });
        expect(asking.served.at(-1)?.headers).toMatchObject({ 'x-countersign-user': 'alice' });
      }
      const refused: (readonly (readonly [string, string])[])[] = [
        [['Authorization', `Bearer ${token}`]],
        [['X_User_Token', token]],
        [
          ['X-User-Token', token],
          ['X-User-Token', token],
        ],
        [
          ['X-User-Token', token],
          ['X-Other-Token', token],
        ],
        [['X-User-Token', `Bearer\t${token}`]],
        [['X-User-Token', `Bearer:${token}`]],
      ];
      for (const headers of refused) {
        const answer = await as(...headers);
        expect(answer).toMatchObject({ status: 401, reached: false });
        expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/);
      }
    }
    await agent.enforce(DESTINATIONS.orders, WEB_READS);
  });

  test('a caller without certificate, and one without user, has no name', async () => {
    await agent.enforce(DESTINATIONS.orders, { policies: [orders('all', { rules: [{}] })] });
    await using optional = await start((text) => text.replace('ssl_verify_client on', 'ssl_verify_client optional'));
    const before = optional.served.length;
    const forged = ['Source', 'User', 'User-Issuer'].map((name) => [`X-Countersign-${name}`, 'root'] as const);
    expect(await optional.ask({ target: '/orders/7', headers: forged })).toMatchObject({ status: 200 });
    const names = optional.served.slice(before).flatMap(({ rawHeaders }) => rawHeaders);
    expect(names.filter((each) => /countersign|root/i.test(each))).toEqual([]);
    await agent.enforce(DESTINATIONS.orders, WEB_READS);
  });

  test('/authenticate says who the user is, and nothing of what the user may do', async () => {
    await agent.enforce(DESTINATIONS.orders, { policies: [], authentications: [people] });
    await using asking = await start((configuration) => configuration.replace('/authorize?', '/authenticate?'));
    const as = (token: string) =>
      outcomeOf({ target: '/orders/7', headers: [['Authorization', `Bearer ${token}`]] }, web, asking);
    expect(await as(tokenOf({ sub: 'b\u00f6b' }))).toMatchObject({ status: 200, reached: true });
    expect(asking.served.at(-1)?.headers).toMatchObject({ 'x-countersign-user': 'b%C3%B6b' });
    expect(await as('nonsense')).toMatchObject({ status: 401, reached: false });
    expect(await outcomeOf({ target: '/orders/7' }, web, asking)).toMatchObject({ status: 401, reached: false });
    await agent.enforce(DESTINATIONS.orders, { policies: [] });
    expect(await as(tokenOf())).toMatchObject({ status: 401, reached: false });
    await agent.enforce(DESTINATIONS.orders, WEB_READS);
  });

  test('without an agent, and with one that does not answer, everything is denied', async () => {
    await using alone = await start(undefined, `${agent.socket}.gone`);
    expect(await outcomeOf({ target: '/orders/7' }, web, alone)).toMatchObject({ status: 500, reached: false });
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(`${agent.socket}.silent`, resolve));
    await using waiting = await start(
      (configuration) => configuration.replace('proxy_read_timeout 5s', 'proxy_read_timeout 300ms'),
      `${agent.socket}.silent`,
    );
    expect(await outcomeOf({ target: '/orders/7' }, web, waiting)).toMatchObject({ status: 500, reached: false });
    silent.close();
  });
});
