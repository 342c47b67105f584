import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { systemClock } from '../../core/clock.ts';
import { DelegatedIdentity } from '../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import type { X509SVIDResponse } from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { connectGrpc, toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { encodePem, parseCertificate } from '../../spiffe/certificate.ts';
import { DaemonProcess } from '../support/daemon-process.ts';
import { spireBinaries, startSpireServer, type SpireServer } from '../support/spire.ts';
import { TestCa } from '../support/test-ca.ts';
import { fetchX509, Workload } from '../support/workload.ts';

const uid = process.getuid?.() ?? 0;

describe.skipIf(spireBinaries === undefined)('our agent with a SPIRE server (needs SPIRE_BIN)', () => {
  const resources = new AsyncDisposableStack();
  const nodes = TestCa.create({ trustDomain: 'nodes.example.org' });
  let folder = '';
  let server: SpireServer;
  let admin: GrpcConnection;
  let daemon: DaemonProcess;
  let parentPath = '';

  const bundlePem = async (): Promise<string> => {
    const { x509Authorities } = await admin.client(BundleService).getBundle({});
    return x509Authorities.map(({ asn1 }) => encodePem('CERTIFICATE', asn1)).join('');
  };
  const register = async (path: string, more: object = {}): Promise<void> => {
    const entry = {
      spiffeId: { trustDomain: 'example.org', path },
      parentId: { trustDomain: 'example.org', path: parentPath },
      selectors: [{ type: 'unix', value: `uid:${uid}` }],
      ...more,
    };
    const { results } = await admin.client(Entry).batchCreateEntry({ entries: [entry] });
    expect(results[0]?.status?.code).toBe(0);
  };
  const configOf = (name: string, attestor: string): string => `trustDomain: example.org
dataDir: ./${name}/data
server: "${server.address}"
bootstrap: { file: ./bundle.pem }
attestor: ${attestor}
workloadAttestors: { unix: {} }
authorizedDelegates: ["spiffe://example.org/delegate"]
listen: { workload: "unix:./${name}/api.sock", admin: "unix:./${name}/admin.sock" }
`;
  const start = (name: string, attestor: string): DaemonProcess => {
    mkdirSync(join(folder, name), { recursive: true });
    return new DaemonProcess({ kind: 'agent', folder, config: configOf(name, attestor) });
  };
  const socket = (): string => join(folder, 'token-agent', 'api.sock');
  const pathsOf = ({ svids }: X509SVIDResponse): string[] =>
    svids.map(({ spiffeId }) => spiffeId.slice('spiffe://example.org'.length)).sort();
  const fetched = async (done: (response: X509SVIDResponse) => boolean): Promise<X509SVIDResponse> => {
    for (;;) {
      const response = await fetchX509(socket()).catch(() => undefined);
      if (response !== undefined && done(response)) return response;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spire-'));
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    mkdirSync(join(folder, 'server'));
    await writeFile(join(folder, 'nodes.pem'), nodes.rootPem);
    server = resources.use(
      await startSpireServer({
        folder: join(folder, 'server'),
        plugins: `NodeAttestor "x509pop" { plugin_data { ca_bundle_path = "${join(folder, 'nodes.pem')}" } }`,
      }),
    );
    admin = connectGrpc({ target: { kind: 'unix', path: server.admin.slice('unix:'.length) }, clock: systemClock });
    resources.use(admin);
    await writeFile(join(folder, 'bundle.pem'), await bundlePem());
    const { value: token } = await admin.client(Agent).createJoinToken({ ttl: 600 });
    await writeFile(join(folder, 'token'), token);
    parentPath = `/spire/agent/join_token/${token}`;
    await register('/web');
    daemon = start('token-agent', '{ joinTokenFile: ./token }');
    resources.defer(async () => void (await daemon.kill('SIGTERM')));
    await daemon.logged('synchronised with the ca');
  });
  afterAll(() => resources.disposeAsync());

  test('attests by join token under SPIRE’s agent ID and polls', async () => {
    const { agents } = await admin.client(Agent).listAgents({});
    expect(agents.map(({ id, attestationType }) => [id?.path, attestationType])).toContainEqual([parentPath, 'join_token']);
    expect(await daemon.logged('synchronised with the ca')).toMatchObject({ mode: 'poll' });
    expect(pathsOf(await fetched(({ svids }) => svids.length === 1))).toEqual(['/web']);
  });

  test('attests by x509pop under SPIRE’s agent ID', async () => {
    const { chainPem, keyPem } = nodes.issueX509Svid('/node', { uris: [], subject: { commonName: 'node-1' } });
    await writeFile(join(folder, 'node.pem'), chainPem);
    await writeFile(join(folder, 'node.key'), keyPem);
    await using agent = start('pop-agent', '{ x509pop: { certFile: ./node.pem, keyFile: ./node.key } }');
    const { spiffeId } = await agent.logged('agent attested');
    expect(String(spiffeId)).toMatch(/^spiffe:\/\/example\.org\/spire\/agent\/x509pop\/[0-9a-f]{40}$/);
  });

  test('sees a new entry within two rounds', async () => {
    using workload = new Workload(socket());
    await register('/late');
    await workload.pushed((response) => pathsOf(response).includes('/late'));
  });

  test('resumes after a restart without its token', async () => {
    await daemon.kill('SIGKILL');
    await rm(join(folder, 'token'));
    daemon = start('token-agent', '{ joinTokenFile: ./token }');
    await daemon.logged('agent resumed');
    await daemon.logged('synchronised with the ca');
    expect(pathsOf(await fetched(({ svids }) => svids.length === 2))).toEqual(['/late', '/web']);
  });

  test('replaces SVIDs when the server taints their authority', async () => {
    const before = await fetched(({ svids }) => svids.length === 2);
    const authority = admin.client(LocalAuthority);
    const { preparedAuthority } = await authority.prepareX509Authority({});
    const { activatedAuthority } = await authority.activateX509Authority({ authorityId: preparedAuthority?.authorityId ?? '' });
    const state = await authority.getX509AuthorityState({});
    await authority.taintX509Authority({ authorityId: state.old?.authorityId ?? '' });
    const leaf = (response: X509SVIDResponse) => parseCertificate(response.svids[0]?.x509Svid ?? new Uint8Array());
    const after = await fetched((response) => leaf(response).serialHex !== leaf(before).serialHex);
    expect(Buffer.from(leaf(after).authorityKeyId ?? []).toString('hex')).toBe(activatedAuthority?.authorityId);
  });

  test('[SPIRE agent:delegatedidentity.v1.SubscribeToX509SVIDs, FetchJWTSVIDs] gives a delegate the identities of others, and nobody else', async () => {
    using connection = connectGrpc({
      target: { kind: 'unix', path: join(folder, 'token-agent', 'admin.sock') },
      clock: systemClock,
    });
    const client = connection.client(DelegatedIdentity);
    const selectors = [{ type: 'app', value: 'one' }];
    const first = async (): Promise<string[]> => {
      for await (const { x509Svids } of client.subscribeToX509SVIDs({ selectors })) {
        return x509Svids.map(({ x509Svid }) => x509Svid?.id?.path ?? '');
      }
      return [];
    };
    expect(await first().catch((error: unknown) => toIdentityError(error).code)).toBe('permission_denied');
    await register('/delegate');
    await register('/app', { selectors });
    await register('/admin-app', { selectors, admin: true });
    await fetched(({ svids }) => svids.length === 3);
    expect(await first()).toEqual(['/app']);
    const { svids } = await client.fetchJWTSVIDs({ selectors, audience: ['a'] });
    expect(svids.map(({ id }) => id?.path)).toEqual(['/app']);
    expect(await client.fetchJWTSVIDs({ audience: ['a'] }).catch((error: unknown) => toIdentityError(error).code)).toBe(
      'invalid_argument',
    );
  });

  test('stops when the server bans it', async () => {
    await admin.client(Agent).banAgent({ id: { trustDomain: 'example.org', path: parentPath } });
    expect(await daemon.ended()).toBe(1);
    expect(daemon.log).toContain('banned');
  });
});
