// nginx before a service, decided by policies of a running CA that its agent enforces.
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createAuthorizationClient, parseSpiffeId } from '../../client/index.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { canHaveNginx, nginxBinary } from '../support/nginx.ts';
import { NginxRig, type PemIdentity } from '../support/nginx-rig.ts';
import { authz } from '../support/policy/policy-objects.ts';
import { RunningCa } from '../support/running-ca.ts';
import { startTestAgent, type RunningTestAgent } from '../support/running-agent.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey } from '../support/test-keys.ts';

const WEB = 'spiffe://example.org/web';

describe.skipIf(!canHaveNginx)('nginx, an agent and a CA (needs nginx, or apt-get)', () => {
  const resources = new AsyncDisposableStack();
  let ca: RunningCa;
  let agent: RunningTestAgent;
  let nginx: NginxRig;
  let web: PemIdentity;

  async function identityOf(path: string): Promise<PemIdentity> {
    const key = createTestKey();
    const csr = createTestCsr({ key, uris: [`spiffe://example.org${path}`] });
    const { svid } = await ca.local(SVID).mintX509SVID({ csr, ttl: 600 });
    const chainPem = (svid?.certChain ?? []).map((der) => encodePem('CERTIFICATE', der)).join('');
    return { chainPem, keyPem: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  }

  async function apply(spec: object): Promise<void> {
    const policy = parsePolicy(authz('calls', spec));
    await ca.local(Policies).setResources({ resources: [{ name: policy.name, document: encodePolicy(policy) }] });
  }

  const statusOf = async (): Promise<number> => (await nginx.ask({ target: '/orders/7' }, web)).status;

  beforeAll(async () => {
    ca = resources.use(await RunningCa.start({ yaml: 'authorization: { default: deny }' }));
    agent = resources.use(await startTestAgent(ca, { listen: { workload: 'unix:./api.sock', authz: 'unix:./authz.sock' } }));
    const selectors = [`uid:${process.getuid?.() ?? 0}`, `path:${realpathSync(nginxBinary())}`];
    await ca.local(Entry).batchCreateEntry({
      entries: [
        {
          parentId: { trustDomain: 'example.org', path: agent.idPath },
          spiffeId: { trustDomain: 'example.org', path: '/orders' },
          selectors: selectors.map((value) => ({ type: 'unix', value })),
          countersignWorkload: { namespace: 'shop' },
        },
      ],
    });
    const { x509Authorities } = await ca.local(Bundle).getBundle({});
    const roots = x509Authorities.map(({ asn1 }) => encodePem('CERTIFICATE', asn1)).join('');
    web = await identityOf('/web');
    nginx = resources.use(
      await NginxRig.start({ authz: join(agent.folder, 'authz.sock'), identity: await identityOf('/orders'), roots }),
    );
  });
  afterAll(() => resources.disposeAsync());

  test('a policy that is applied holds at nginx, as does its change', async () => {
    expect(await statusOf()).toBe(403);
    await apply({ rules: [{ from: [{ spiffeIDs: [WEB] }], to: [{ methods: ['GET'] }] }] });
    await vi.waitUntil(async () => (await statusOf()) === 200, { timeout: 5_000, interval: 10 });
    await apply({ rules: [{ from: [{ spiffeIDs: [WEB] }], to: [{ methods: ['POST'] }] }] });
    await vi.waitUntil(async () => (await statusOf()) === 403, { timeout: 5_000, interval: 10 });
  });

  test('nginx is the destination as the process that it is; another process is not', async () => {
    await apply({ rules: [{}] });
    await vi.waitUntil(async () => (await statusOf()) === 200, { timeout: 5_000, interval: 10 });
    using client = createAuthorizationClient({ socket: join(agent.folder, 'authz.sock') });
    const request = { method: 'GET', target: '/orders/7', headers: [['host', 'orders']] as const };
    const call = { sourceId: parseSpiffeId(WEB), request };
    expect(await client.authorize(call)).toMatchObject({ verdict: 'deny', status: 403, reason: 'no_identity' });
    const named = { ...call, destinationId: parseSpiffeId('spiffe://example.org/orders') };
    expect(await client.authorize(named)).toMatchObject({ verdict: 'deny', status: 403, reason: 'no_identity' });
  });

  test('nothing passes without the agent', async () => {
    await apply({ rules: [{}] });
    await vi.waitUntil(async () => (await statusOf()) === 200, { timeout: 5_000, interval: 10 });
    await agent[Symbol.asyncDispose]();
    expect(await statusOf()).toBe(500);
  });
});
