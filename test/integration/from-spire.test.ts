// Moves a real SPIRE installation over by the blocks of docs/from-spire.md, while a go-spiffe service calls another all the time.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { systemClock } from '../../core/clock.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { TrustDomain } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';
import { CaProcess } from '../support/ca-process.ts';
import { runToEnd, type Finished } from '../support/command.ts';
import { DaemonProcess } from '../support/daemon-process.ts';
import { JsonLinesProcess } from '../support/json-lines.ts';
import { spireBinaries, startSpireAgent, startSpireServer, type SpireAgent, type SpireServer } from '../support/spire.ts';
import { TestCa } from '../support/test-ca.ts';
import { goProgram, isInstalled } from '../support/toolchain.ts';

const GUIDE = readFileSync(join(import.meta.dirname, '../../docs/from-spire.md'), 'utf8');
const COMMAND = join(import.meta.dirname, '../../cli/main.ts');
const uid = process.getuid?.() ?? 0;

/** The blocks of the guide's sections, in order: 0 is what comes before the first step. */
function blocksOf(language: string): readonly (readonly string[])[] {
  const block = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms');
  return GUIDE.split(/^## /m).map((section) => [...section.matchAll(block)].map(([, text = '']) => text));
}

interface Node {
  readonly name: string;
  readonly folder: string;
  readonly agentPath: string;
  spire?: SpireAgent;
}

describe.skipIf(spireBinaries === undefined || !isInstalled('go'))('docs/from-spire.md (needs SPIRE_BIN and go)', () => {
  const resources = new AsyncDisposableStack();
  const certificates = TestCa.create({ trustDomain: 'nodes.example.org' });
  const shell = blocksOf('sh');
  const nodes: Node[] = [];
  let folder = '';
  let server: SpireServer;
  let spire: GrpcConnection;
  let ca: CaProcess;
  let caller: JsonLinesProcess;
  let authorityOfSpire = '';

  /** Runs blocks of one section in one shell, with our socket, SPIRE's and an agent in its environment. */
  function walk(blocks: readonly string[], agent = ''): Promise<Finished> {
    const script = [
      'set -em',
      `countersign() { ${process.execPath} ${COMMAND} "$@"; }`,
      shell[0]
        ?.join('\n')
        .replace(/SPIRE=\S+/, `SPIRE=${server.admin}`)
        .replace(/SOCKET=\S+/, `SOCKET=${ca.socket}`),
      `export AGENT=${agent}`,
      ...blocks.map((block) => block.replaceAll('--from "$SPIRE"', '--from "$SPIRE" --spire-svid-ttl 30s')),
    ].join('\n');
    writeFileSync(join(folder, 'walk.sh'), script);
    return runToEnd('bash', ['walk.sh'], { cwd: folder });
  }

  async function output(blocks: readonly string[], agent?: string): Promise<string> {
    const { code, stdout, stderr } = await walk(blocks, agent);
    expect({ code, stderr, stdout: code === 0 ? '' : stdout }).toEqual({ code: 0, stderr: '', stdout: '' });
    return stdout;
  }

  async function addNode(name: string): Promise<Node> {
    const home = join(folder, name);
    mkdirSync(join(home, 'spire'), { recursive: true });
    const { chainPem, keyPem } = certificates.issueX509Svid('/node', { uris: [], subject: { commonName: name } });
    writeFileSync(join(home, 'node.pem'), chainPem);
    writeFileSync(join(home, 'node.key'), keyPem);
    const files = `certificate_path = "${join(home, 'node.pem')}" private_key_path = "${join(home, 'node.key')}"`;
    const agent = await startSpireAgent({
      folder: join(home, 'spire'),
      server: server.address,
      plugins: `NodeAttestor "x509pop" { plugin_data { ${files} } }`,
    });
    resources.use(agent);
    const { agents } = await spire.client(Agent).listAgents({});
    const agentPath = agents.map(({ id }) => id?.path ?? '').find((path) => nodes.every((node) => node.agentPath !== path)) ?? '';
    const node = { name, folder: home, agentPath, spire: agent };
    nodes.push(node);
    return node;
  }

  async function register(path: string, parentPath: string, more: object = {}): Promise<void> {
    const id = (each: string) => ({ trustDomain: 'example.org', path: each });
    const selectors = [{ type: 'unix', value: `uid:${uid}` }];
    const entry = { spiffeId: id(path), parentId: id(parentPath), selectors, ...more };
    const { results } = await spire.client(Entry).batchCreateEntry({ entries: [entry] });
    expect(results[0]?.status).toMatchObject({ code: 0 });
  }

  /** The caller's next lines until one is as asked. A call that failed ends the test. */
  async function calling(done: (line: { own: string; peer: string }) => boolean): Promise<void> {
    for (;;) {
      const line = await caller.next();
      if (line === undefined) throw new Error(`the caller ended: ${caller.errors}`);
      expect(line).not.toHaveProperty('failed');
      if (done({ own: String(line['own']), peer: String(line['peer']) })) return;
    }
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'move-'));
    resources.defer(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, 'nodes.pem'), certificates.rootPem);
    mkdirSync(join(folder, 'spire-server'));
    server = resources.use(
      await startSpireServer({
        folder: join(folder, 'spire-server'),
        settings: 'agent_ttl = "30s"\ndefault_x509_svid_ttl = "30s"',
        plugins: `NodeAttestor "x509pop" { plugin_data { ca_bundle_path = "${join(folder, 'nodes.pem')}" } }`,
      }),
    );
    spire = connectGrpc({ target: { kind: 'unix', path: server.admin.slice('unix:'.length) }, clock: systemClock });
    resources.use(spire);
    const [front, back] = [await addNode('front'), await addNode('back')];
    await register('/front', front.agentPath, { hint: 'f', dnsNames: ['front.example.org'], admin: true });
    await register('/alias', '/spire/server', { selectors: [{ type: 'x509pop', value: 'subject:cn:back' }] });
    await register('/back', '/alias', { x509SvidTtl: 25 });
    await register('/bound', '/spire/agent/join_token/abc');
    const foreign = TestCa.create({ trustDomain: 'other.org' });
    const relationship = {
      trustDomain: 'other.org',
      bundleEndpointUrl: 'https://127.0.0.1:1/',
      bundleEndpointProfile: { case: 'httpsWeb' as const, value: {} },
      trustDomainBundle: { trustDomain: 'other.org', x509Authorities: [{ asn1: foreign.root.der }] },
    };
    await spire.client(TrustDomain).batchCreateFederationRelationship({ federationRelationships: [relationship] });
    await register('/federated', front.agentPath, {
      selectors: [{ type: 'unix', value: 'uid:4' }],
      federatesWith: ['other.org'],
    });
    ca = resources.use(await CaProcess.start({ yaml: `attestors: { x509pop: { caFile: ${join(folder, 'nodes.pem')} } }` }));
    const workload = await goProgram('workload');
    const words = (node: Node, ...rest: string[]) => [
      '-addr',
      node.spire?.workloadApi ?? '',
      '-authorize',
      'td:example.org',
      ...rest,
    ];
    const called = resources.use(new JsonLinesProcess(workload, words(back, 'serve', '127.0.0.1:0')));
    const { listening } = await called.until((line) => 'listening' in line);
    caller = resources.use(new JsonLinesProcess(workload, words(front, 'call', String(listening))));
    await calling(({ own, peer }) => own !== '' && own === peer && ((authorityOfSpire = own), true));
  });
  afterAll(() => resources.disposeAsync());

  test('1. a CA beside the SPIRE server', async () => {
    expect(await output(shell[1] ?? [])).toContain('serving');
  });

  test('2. trust both ways, planned and done', async () => {
    const [once = '', watch] = shell[2] ?? [];
    expect(watch).toContain('--watch &');
    const text = await output([once]);
    expect(text).toMatch(/would add to SPIRE's bundle: x509[^]*would add to our bundle: x509[^]*added to SPIRE's bundle/);
    expect(await output([once])).toBe('both bundles have the authorities of both\n'.repeat(2));
    using admin = ca.connect();
    const [theirs, ours] = await Promise.all([spire, admin].map((each) => each.client(Bundle).getBundle({})));
    const keys = (bundle: typeof ours) => bundle?.x509Authorities.map(({ asn1 }) => Buffer.from(asn1).toString('hex')).sort();
    expect(keys(theirs)).toEqual(keys(ours));
    expect(theirs?.jwtAuthorities.map(({ keyId }) => keyId).sort()).toEqual(
      ours?.jwtAuthorities.map(({ keyId }) => keyId).sort(),
    );
  });

  test('2. … and goes on while authorities come and go', async () => {
    const watching = walk([shell[2]?.[1] ?? '', 'while [ ! -e done ]; do sleep 0.2; done', 'kill %1', 'wait || true']);
    using admin = ca.connect();
    const keyIds = async (side: GrpcConnection): Promise<string[]> =>
      (await side.client(Bundle).getBundle({})).jwtAuthorities.map(({ keyId }) => keyId);
    const theirs = spire.client(LocalAuthority);
    const { preparedAuthority: next } = await theirs.prepareJWTAuthority({});
    await expect.poll(() => keyIds(admin), { timeout: 30_000 }).toContain(next?.authorityId);
    const { preparedAuthority: ours } = await admin.client(LocalAuthority).prepareJWTAuthority({});
    await expect.poll(() => keyIds(spire), { timeout: 30_000 }).toContain(ours?.authorityId);
    await theirs.activateJWTAuthority({ authorityId: next?.authorityId ?? '' });
    const { old } = await theirs.getJWTAuthorityState({});
    await theirs.taintJWTAuthority({ authorityId: old?.authorityId ?? '' });
    await theirs.revokeJWTAuthority({ authorityId: old?.authorityId ?? '' });
    await expect.poll(() => keyIds(admin), { timeout: 30_000 }).not.toContain(old?.authorityId);
    writeFileSync(join(folder, 'done'), '');
    expect(await watching).toMatchObject({ code: 0, stdout: expect.stringContaining('SPIRE has revoked it: jwt authority') });
  });

  test('3. entries and federation', async () => {
    const [block = ''] = shell[3] ?? [];
    const text = await output([block]);
    expect(text).toMatch(/federation with other\.org: would be copied[^]*would create: entry \S+ spiffe:\/\/example\.org\/front/);
    expect(text).toMatch(/skipped: entry \S+ spiffe:\/\/example\.org\/bound .*join token/);
    expect(text).toContain('entries: 4 same, 0 missing, 0 changed, 1 skipped, 0 left, 0 extra\n');
    using admin = ca.connect();
    const [theirs, ours] = await Promise.all([spire, admin].map((each) => each.client(Entry).listEntries({})));
    const ids = (list: typeof ours) => list?.entries.map(({ id }) => id) ?? [];
    expect(ids(theirs)).toEqual(expect.arrayContaining(ids(ours)));
    expect(ids(ours)).toHaveLength(4);
  });

  test('3. an entry that differs is told and stays, unless asked', async () => {
    using admin = ca.connect();
    const { entries } = await admin.client(Entry).listEntries({});
    const front = entries.find(({ spiffeId }) => spiffeId?.path === '/front');
    await admin.client(Entry).batchUpdateEntry({ entries: [{ id: front?.id ?? '', hint: 'x' }], inputMask: { hint: true } });
    const compare = 'countersign migrate spire compare --from "$SPIRE"';
    const { code, stdout } = await walk([compare]);
    expect({ code, stdout }).toMatchObject({ code: 1, stdout: expect.stringMatching(/changed: .*\/front .*differs in hint/) });
    expect(await output(['countersign migrate spire copy --from "$SPIRE"'])).toMatch(/kept as it is here: .*\/front/);
    expect(await output(['countersign migrate spire copy --from "$SPIRE" --update', compare])).toContain(
      '4 same, 0 missing, 0 changed',
    );
  });

  test('3. the same question over TLS, as an admin of both', async () => {
    const front = nodes.find(({ name }) => name === 'front');
    const servers = `--from ${server.address} --server 127.0.0.1:${ca.grpcPort}`;
    const asked = [`export SPIFFE_ENDPOINT_SOCKET=${front?.spire?.workloadApi}`, `countersign migrate spire compare ${servers}`];
    expect(await output(asked)).toContain('entries: 4 same, 0 missing, 0 changed, 1 skipped');
  });

  test.each(['back', 'front'])('4. the agent of %s moves, and no call fails', { timeout: 120_000 }, async (name) => {
    const node = nodes.find((each) => each.name === name);
    if (node === undefined) throw new Error('no node');
    const [before = '', after = ''] = shell[4] ?? [];
    const id = `spiffe://example.org${node.agentPath}`;
    const text = await output([before], id);
    expect(text).toContain(`${id}: ready to move\n`);
    await node.spire?.[Symbol.asyncDispose]();
    const [yaml = ''] = blocksOf('yaml')[4] ?? [];
    const config = yaml
      .replace('ca.example.org:8081', `127.0.0.1:${ca.grpcPort}`)
      .replace('file: ./bundle.pem', `file: ${join(folder, 'bundle.pem')}`)
      .replace('unix:/tmp/spire-agent/public/api.sock', node.spire?.workloadApi ?? '');
    const agent = resources.use(new DaemonProcess({ kind: 'agent', folder: node.folder, config }));
    await agent.logged('agent attested');
    expect(await output([after], id)).toContain(`${id}: moved\n`);
    await calling(({ own, peer }) => (name === 'front' ? own : peer) !== authorityOfSpire);
  });

  test('5. the end comes when nothing of SPIRE can be alive, and not before', { timeout: 180_000 }, async () => {
    const [plan = '', finish = ''] = shell[5] ?? [];
    const early = await walk([shell[2]?.[1] ?? '', plan]);
    expect(early).toMatchObject({ code: 0, stderr: expect.stringContaining('SVIDs that SPIRE signed may live until') });
    expect(early.stdout).toContain('not yet\n');
    let finished = await walk([finish]);
    while (finished.code !== 0) {
      expect(finished.stderr).toContain('not yet: ');
      await delay(1000);
      finished = await walk([finish]);
    }
    expect(finished.stdout).toMatch(/^removed from our bundle: x509 authority/m);
    using admin = ca.connect();
    const { x509Authorities } = await admin.client(Bundle).getBundle({});
    const keyIds = x509Authorities.map(({ asn1 }) => Buffer.from(parseCertificate(asn1).subjectKeyId ?? []).toString('hex'));
    expect(keyIds).not.toContain(authorityOfSpire);
    await calling(({ own, peer }) => own === peer);
    expect(await walk(['countersign migrate spire trust --from "$SPIRE"'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('this migration is finished'),
    });
    expect(await output([finish])).toContain('our bundle has no authority of SPIRE');
  });

  test('5. without SPIRE, what was noted of it decides', async () => {
    await server[Symbol.asyncDispose]();
    const finish = shell[5]?.[1] ?? '';
    expect(await walk([finish])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('SVIDs that SPIRE signed may live until'),
    });
    expect(await walk([finish.replace('finish', 'finish --record another.json')])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('it is not known how long its SVIDs live'),
    });
    expect(await output([finish.replace('finish', 'finish --force 2>&1')])).toContain('in spite of: SVIDs that SPIRE signed');
  });
});
