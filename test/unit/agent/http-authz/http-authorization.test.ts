import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AuthorizationRig } from '../../../support/authorization-rig.ts';
import { DESTINATIONS } from '../../../support/policy/cast.ts';
import { orders } from '../../../support/policy/policy-objects.ts';
import { TestCa } from '../../../support/test-ca.ts';
import { UnixHttp } from '../../../support/unix-http.ts';

const ca = TestCa.create();
const other = TestCa.create({ trustDomain: 'other.example' });
const CALL = 'a1'.repeat(16);
const WEB = 'spiffe://example.org/web';

let agent: AuthorizationRig;
let connection: UnixHttp;

beforeAll(async () => {
  agent = await AuthorizationRig.start({ ca });
  await agent.enforce(DESTINATIONS.orders, {
    policies: [orders('p', { rules: [{ from: [{ spiffeIDs: [WEB] }], to: [{ paths: [{ prefix: '/orders' }] }] }] })],
  });
});
afterAll(() => agent[Symbol.asyncDispose]());
beforeEach(() => {
  agent.faults.length = 0;
});

const certificate = (pem: string): string => encodeURIComponent(pem);
const web = certificate(ca.issueX509Svid('/web').chainPem);

/** What nginx says with the configuration of the guide. */
const said = {
  Request: 'GET /orders/7?q=1 HTTP/1.1',
  Host: 'orders',
  Port: '8443',
  Address: '10.1.2.3',
  Verify: 'SUCCESS',
  Certificate: web,
};

function lines(changes: Partial<Record<keyof typeof said, string>> = {}, seal = `${CALL} `): string {
  return Object.entries({ ...said, ...changes })
    .map(([name, value]) => `X-Countersign-${name}: ${seal}${value}\r\n`)
    .join('');
}

function question(headers = lines(), path = `/authorize?call=${CALL}`): string {
  return `GET ${path} HTTP/1.1\r\nHost: countersign\r\n${headers}\r\n`;
}

async function ask(bytes: string) {
  using fresh = await UnixHttp.open(agent.socket);
  return await fresh.ask(bytes);
}

describe('/authorize', () => {
  test('answers on a kept connection, with what was found out', async () => {
    connection = await UnixHttp.open(agent.socket);
    for (let count = 0; count < 3; count++) {
      const answer = await connection.ask(question());
      expect(answer).toMatchObject({ status: 200, body: '' });
      expect(answer?.headers.get('x-countersign-source')).toBe(WEB);
      expect(answer?.headers.get('x-countersign-policy')).toBe('shop/p');
      expect(answer?.headers.get('x-countersign-rule')).toBe('0');
      expect(answer?.headers.get('x-countersign-destination')).toBe('spiffe://example.org/ns/shop/sa/orders');
    }
    expect(await connection.ask(question(lines({ Request: 'GET /other HTTP/1.1' })))).toMatchObject({ status: 403 });
    expect(connection.isEnded).toBe(false);
    connection[Symbol.dispose]();
    expect(agent.decided.at(-1)?.check).toMatchObject({ port: 8443, sourceAddress: '10.1.2.3', point: 'http' });
  });

  test.each(['NONE', 'FAILED:certificate has expired', '', 'success', 'SUCCESS NONE'])(
    'knows no caller where nginx verified none: %s',
    async (Verify) => {
      expect(await ask(question(lines({ Verify })))).toMatchObject({ status: 403 });
      expect(agent.decided.at(-1)?.check.sourceId).toBeUndefined();
    },
  );

  test.each([
    ['of an authority of another trust domain', certificate(other.issueX509Svid('/web', { uris: [WEB] }).chainPem)],
    ['of a trust domain that is not known', certificate(other.issueX509Svid('/web').chainPem)],
    ['that has expired', certificate(ca.issueX509Svid('/web', { notAfterMs: Date.now() - 1000 }).chainPem)],
    ['without SPIFFE ID', certificate(ca.issueX509Svid('/web', { uris: [], dnsNames: ['web'] }).chainPem)],
    ['that is a CA', certificate(ca.rootPem)],
    ['and another one', web + web],
    ['that is none', 'nonsense'],
    ['that is badly escaped', '%E0%A4%A'],
    ['that is empty', ''],
    ['of 100 kB', 'A'.repeat(60_000)],
  ])('denies a certificate %s', async (_name, Certificate) => {
    const answer = await ask(question(lines({ Certificate })));
    expect(answer?.status).toBe(403);
    expect(answer?.headers.get('x-countersign-reason')).toBe('source_refused');
    expect(agent.faults).toEqual([]);
    expect(agent.decided.at(-1)).toMatchObject({
      check: { request: { method: 'GET' } },
      outcome: { verdict: 'deny', reason: 'source_refused' },
    });
  });

  test('finds the authority between in the SVID of nginx itself', async () => {
    const intermediate = ca.issueIntermediate();
    const below = certificate(
      ca.issueX509Svid('/web', {}, [intermediate]).chainPem.split(/(?<=END CERTIFICATE-----\n)/)[0] ?? '',
    );
    expect(await ask(question(lines({ Certificate: below })))).toMatchObject({ status: 403 });
    agent.giveSvidBelow(intermediate);
    expect(await ask(question(lines({ Certificate: below })))).toMatchObject({ status: 200 });
    agent.giveSvidBelow();
  });

  test.each([
    ['without seal', question(lines({}, ''))],
    ['with the seal of another call', question(lines({}, `${'b2'.repeat(16)} `))],
    ['with a seal and nothing between', question(lines({}, CALL))],
    ['without a call', question(lines(), '/authorize')],
    ['with an empty call', question(lines({}, ' '), '/authorize?call=')],
    ['with a call that could be guessed', question(lines({}, '1 '), '/authorize?call=1')],
    ['with two calls', question(lines(), `/authorize?call=${CALL}&call=${CALL}`)],
    ['with an unknown parameter', question(lines(), `/authorize?call=${CALL}&verify=SUCCESS`)],
    ['with a header twice', question(`${lines()}x-countersign-verify: ${CALL} SUCCESS\r\n`)],
    ['without headers', question('')],
    ['with a port that is none', question(lines({ Port: '65536' }))],
    ['with an address that is none', question(lines({ Address: '10.0.0.1, 10.0.0.2' }))],
    ['with a request line that is none', question(lines({ Request: 'GET' }))],
    ['with an identity that is none', question(lines(), `/authorize?call=${CALL}&identity=orders`)],
    ['with a body', question(`${lines()}Content-Length: 3\r\n`).concat('abc')],
    ['with a body in chunks', question(`${lines()}Transfer-Encoding: chunked\r\n`).concat('0\r\n\r\n')],
  ])('denies a question %s, as a fault of the proxy', async (_name, bytes) => {
    const answer = await ask(bytes);
    expect(answer?.status).toBe(403);
    expect(answer?.headers.get('x-countersign-reason')).toBe('proxy_misconfigured');
    expect(agent.faults).toMatchObject([{ code: 'failed_precondition' }]);
    expect(agent.decided.at(-1)?.outcome).toMatchObject({ verdict: 'deny', reason: 'proxy_misconfigured' });
  });

  test('takes no body for the next question', async () => {
    using kept = await UnixHttp.open(agent.socket);
    const hidden = question();
    kept.send(question(`${lines({ Request: 'GET /other HTTP/1.1' })}Content-Length: ${hidden.length + 200}\r\n`));
    const answer = await kept.next();
    expect(answer?.status).toBe(403);
    expect(answer?.headers.get('connection')).toBe('close');
    kept.send(`${'x'.repeat(200)}${hidden}`);
    expect(await kept.next()).toBeUndefined();
  });

  test('decides for an identity of the asking workload only', async () => {
    const named = (id: string) => question(lines(), `/authorize?call=${CALL}&identity=${id}`);
    expect(await ask(named('spiffe://example.org/ns/shop/sa/orders'))).toMatchObject({ status: 200 });
    const foreign = await ask(named('spiffe://example.org/ns/billing/sa/ledger'));
    expect(foreign?.headers.get('x-countersign-reason')).toBe('no_identity');
    expect(foreign?.status).toBe(403);
  });
});

describe('POST /v1/authorize', () => {
  const post = (body: string, more = ''): string =>
    `POST /v1/authorize HTTP/1.1\r\nHost: agent\r\n${more}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${Buffer.from(body).toString('latin1')}`;
  const call = { sourceId: WEB, port: 8443, sourceAddress: '10.1.2.3' };
  const request = { method: 'GET', target: '/orders/7', headers: [['host', 'orders']] };
  const json = (value: unknown): string => post(JSON.stringify(value));

  test('answers with the decision', async () => {
    const answer = await ask(json({ ...call, request }));
    expect(answer?.status).toBe(200);
    expect(JSON.parse(answer?.body ?? '')).toEqual({
      verdict: 'allow',
      status: 200,
      reason: 'allowed_by_rule',
      headers: {},
      policy: 'shop/p',
      rule: 0,
      destinationId: 'spiffe://example.org/ns/shop/sa/orders',
    });
  });

  test('a denial comes with what to tell the caller', async () => {
    const answer = await ask(json({ ...call, sourceId: undefined, request }));
    expect(answer?.status).toBe(200);
    const { verdict, status, body } = JSON.parse(answer?.body ?? '');
    expect([verdict, status, JSON.parse(body).code]).toEqual(['deny', 403, 'permission_denied']);
  });

  test.each([
    ['nothing', ''],
    ['no JSON', '{'],
    ['a list', '[]'],
    ['an unknown member', JSON.stringify({ ...call, request, source: WEB })],
    ['a name twice', `{"sourceId": "${WEB}", "sourceId": "${WEB}"}`],
    ['a SPIFFE ID that is none', JSON.stringify({ sourceId: 'web', request })],
    ['a port that is none', JSON.stringify({ port: 0 })],
    ['an address that is none', JSON.stringify({ sourceAddress: 'localhost' })],
    ['a header without value', JSON.stringify({ request: { ...request, headers: [['host']] } })],
    ['headers as a mapping', JSON.stringify({ request: { ...request, headers: { host: 'orders' } } })],
    ['no method', JSON.stringify({ request: { target: '/' } })],
    ['a byte order mark', `\uFEFF${JSON.stringify({ ...call, request })}`],
  ])('400 for %s', async (_name, body) => {
    const before = agent.decided.length;
    expect(await ask(post(body))).toMatchObject({ status: 400 });
    expect(agent.decided.length).toBe(before);
  });

  test('413 for too much, and the connection ends', async () => {
    using kept = await UnixHttp.open(agent.socket);
    kept.send(post(' '.repeat(300_000)));
    const answer = await kept.next();
    expect(answer?.status).toBe(413);
    expect(answer?.headers.get('connection')).toBe('close');
  });

  test('nothing else is served', async () => {
    expect(await ask('GET /v1/authorize HTTP/1.1\r\nHost: a\r\n\r\n')).toMatchObject({ status: 405 });
    for (const path of ['/', '/authorize/', '/v1/authorize?x=1', '//authorize', '/metrics', 'http://a/authorize'])
      expect(await ask(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)).toMatchObject({ status: 404 });
  });
});
