import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { CaProcess } from '../support/ca-process.ts';
import { SpireClient, type JsonMessage } from '../support/spire-client.ts';
import { spireBinaries, startSpireAgent, type SpireAgent } from '../support/spire.ts';
import { issueCertificate, TestCa } from '../support/test-ca.ts';

// What a SPIRE agent of this machine may be: the tests run as one user.
const UID = process.getuid?.() ?? 0;
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sa-'));
  folders.push(folder);
  return folder;
}

async function bundleFile(ca: CaProcess): Promise<string> {
  using admin = ca.connect();
  const { x509Authorities } = await admin.client(Bundle).getBundle({});
  const file = join(newFolder(), 'bundle.pem');
  writeFileSync(file, x509Authorities.map(({ asn1 }) => encodePem('CERTIFICATE', asn1)).join(''));
  return file;
}

async function registerWorkload(ca: CaProcess, parentPath: string, path: string): Promise<void> {
  using admin = ca.connect();
  const own = (part: string) => ({ trustDomain: 'example.org', path: part });
  const entry = { spiffeId: own(path), parentId: own(parentPath), selectors: [{ type: 'unix', value: `uid:${UID}` }] };
  await admin.client(Entry).batchCreateEntry({ entries: [entry] });
}

/** What a workload gets from the agent; asked until it has an identity. */
async function fetch(agent: SpireAgent, method: string, request: JsonMessage = {}): Promise<JsonMessage> {
  await using client = await SpireClient.connect({ address: agent.workloadApi });
  const headers = { 'workload.spiffe.io': 'true' };
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const { code, messages } = await client.call(`SpiffeWorkloadAPI/${method}`, request, { headers, limit: 1 });
    if (code === 'OK' && messages[0] !== undefined) return messages[0];
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${method} gave no identity`);
}

describe.skipIf(spireBinaries === undefined)('a SPIRE agent (needs SPIRE_BIN)', () => {
  let ca: CaProcess;
  const nodes = TestCa.create({ trustDomain: 'nodes.example' });
  beforeAll(async () => {
    const roots = join(newFolder(), 'roots.pem');
    writeFileSync(roots, nodes.rootPem);
    ca = await CaProcess.start({ yaml: `attestors: { joinToken: {}, x509pop: { caFile: ${roots} } }` });
  });
  afterAll(() => ca[Symbol.asyncDispose]());
  const server = () => `127.0.0.1:${ca.grpcPort}`;

  test('[SPIRE agent] attests by join token, synchronises and serves X.509 and JWT identities', async () => {
    using admin = ca.connect();
    const { value } = await admin
      .client(Agent)
      .createJoinToken({ ttl: 60, agentId: { trustDomain: 'example.org', path: '/nodes/joined' } });
    await registerWorkload(ca, '/nodes/joined', '/web');
    await using agent = await startSpireAgent({
      folder: newFolder(),
      server: server(),
      joinToken: value,
      bundleFile: await bundleFile(ca),
    });
    const x509 = await fetch(agent, 'FetchX509SVID');
    expect(JSON.stringify(x509)).toContain('spiffe://example.org/web');
    const jwt = await fetch(agent, 'FetchJWTSVID', { audience: ['db'] });
    expect(JSON.stringify(jwt)).toContain('spiffe://example.org/web');
    const record = await admin
      .client(Agent)
      .getAgent({ id: { trustDomain: 'example.org', path: `/spire/agent/join_token/${value}` } });
    expect(record).toMatchObject({ attestationType: 'join_token', canReattest: false });
  });

  test('[SPIRE agent] attests by x509pop, and again with the same certificate', async () => {
    const node = issueCertificate(nodes.root, { subject: { commonName: 'node-1' } });
    const folder = newFolder();
    writeFileSync(join(folder, 'node.pem'), encodePem('CERTIFICATE', node.der));
    writeFileSync(join(folder, 'node.key'), node.key.privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const files = `private_key_path = "${folder}/node.key" certificate_path = "${folder}/node.pem"`;
    const plugins = `NodeAttestor "x509pop" { plugin_data { ${files} } }`;
    const attest = async () =>
      startSpireAgent({ folder: newFolder(), server: server(), plugins, bundleFile: await bundleFile(ca) });
    using admin = ca.connect();
    await (await attest())[Symbol.asyncDispose]();
    const { agents } = await admin.client(Agent).listAgents({ filter: { byAttestationType: 'x509pop' } });
    expect(agents).toHaveLength(1);
    expect(agents[0]).toMatchObject({ canReattest: true });
    expect(agents[0]?.selectors).toContainEqual(expect.objectContaining({ type: 'x509pop', value: 'subject:cn:node-1' }));
    await registerWorkload(ca, agents[0]?.id?.path ?? '', '/popped');
    await using again = await attest();
    expect(JSON.stringify(await fetch(again, 'FetchX509SVID'))).toContain('spiffe://example.org/popped');
    expect((await admin.client(Agent).countAgents({ filter: { byAttestationType: 'x509pop' } })).count).toBe(1);
  });

  test('[SPIRE agent] synchronises more entries than fit into one page', async () => {
    using admin = ca.connect();
    const { value } = await admin.client(Agent).createJoinToken({ ttl: 60 });
    const own = (path: string) => ({ trustDomain: 'example.org', path });
    const entries = Array.from({ length: 1200 }, (_, index) => ({
      spiffeId: own(`/many/${index}`),
      parentId: own(`/spire/agent/join_token/${value}`),
      selectors: [{ type: 'unix', value: index === 1199 ? `uid:${UID}` : `uid:${100_000 + index}` }],
    }));
    await admin.client(Entry).batchCreateEntry({ entries });
    await using agent = await startSpireAgent({
      folder: newFolder(),
      server: server(),
      joinToken: value,
      bundleFile: await bundleFile(ca),
    });
    expect(JSON.stringify(await fetch(agent, 'FetchX509SVID'))).toContain('spiffe://example.org/many/1199');
  });

  test('[SPIRE agent] stops serving when it is banned', async () => {
    using admin = ca.connect();
    const { value } = await admin.client(Agent).createJoinToken({ ttl: 60 });
    const path = `/spire/agent/join_token/${value}`;
    await registerWorkload(ca, path, '/banned');
    const settings = 'sync_interval = "1s"';
    await using agent = await startSpireAgent({
      folder: newFolder(),
      server: server(),
      joinToken: value,
      bundleFile: await bundleFile(ca),
      settings: `experimental { ${settings} }`,
    });
    expect(JSON.stringify(await fetch(agent, 'FetchX509SVID'))).toContain('/banned');
    await admin.client(Agent).banAgent({ id: { trustDomain: 'example.org', path } });
    await expect.poll(() => runs(agent.pid), { timeout: 30_000 }).toBe(false);
  });
});

/** A process that has ended but was not waited for counts as ended. */
function runs(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
