// Trust domains that federate: ours with each other in both profiles, and with a SPIRE server in both directions.
import { createServer, type Server } from 'node:https';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AgentProcess } from '../support/agent-process.ts';
import { CaProcess } from '../support/ca-process.ts';
import { countersign, runToEnd, type Finished } from '../support/command.ts';
import { spireBinaries, startSpireServer, type SpireServer } from '../support/spire.ts';
import { issueCertificate, TestCa } from '../support/test-ca.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { goProgram, isInstalled } from '../support/toolchain.ts';

const folder = mkdtempSync(join(tmpdir(), 'federation-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const UID = String(process.getuid?.() ?? 0);
const ENDPOINT = 'endpoint: { profile: https_spiffe, refreshHint: 5s }';

/** Runs the command against a CA and yields its output once it has succeeded. */
async function admin(ca: CaProcess, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await tryAdmin(ca, ...words);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

function tryAdmin(ca: CaProcess, ...words: readonly string[]): Promise<Finished> {
  return countersign([...words, '--socket', ca.socket], { cwd: folder });
}

/** Asks again until the answer satisfies. */
async function until<T>(ask: () => Promise<T>, satisfies: (answer: T) => boolean, seconds = 30): Promise<T> {
  for (const deadline = Date.now() + seconds * 1000; ; await delay(200)) {
    const answer = await ask();
    if (satisfies(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s; last answer: ${JSON.stringify(answer)}`);
  }
}

async function federate(ca: CaProcess, peer: CaProcess, trustDomain: string): Promise<void> {
  const document = join(folder, `${trustDomain}.json`);
  writeFileSync(document, await admin(peer, 'bundle', 'show', '--format', 'spiffe'));
  await admin(
    ca,
    'federation',
    'create',
    '--trust-domain',
    trustDomain,
    '--bundle-endpoint-profile',
    'https_spiffe',

    '--bundle-endpoint-url',
    `https://127.0.0.1:${peer.publicPort}/`,
    '--endpoint-spiffe-id',
    `spiffe://${trustDomain}/spire/server`,
    '--trust-domain-bundle-path',
    document,
    '--trust-domain-bundle-format',
    'spiffe',
  );
}

describe('two trust domains of ours, https_spiffe', () => {
  let east: CaProcess;
  let west: CaProcess;
  beforeAll(async () => {
    const yaml = `federation: { ${ENDPOINT}, allowPrivateHosts: ["127.0.0.1"] }`;
    [east, west] = await Promise.all([
      CaProcess.start({ trustDomain: 'east.org', yaml }),
      CaProcess.start({ trustDomain: 'west.org', yaml }),
    ]);
    await federate(east, west, 'west.org');
    await federate(west, east, 'east.org');
  });
  afterAll(async () => {
    await east[Symbol.asyncDispose]();
    await west[Symbol.asyncDispose]();
  });

  const bundleAt = (ca: CaProcess, trustDomain: string): Promise<string> =>
    admin(ca, 'bundle', 'list', '--trust-domain', trustDomain, '--format', 'spiffe');

  test('[SPIFFE Federation §5.2.2] the endpoint is polled and proves itself by its SVID', async () => {
    expect(await admin(east, 'federation', 'refresh', '--trust-domain', 'west.org')).toBe('bundle of west.org fetched\n');
    expect(JSON.parse(await bundleAt(east, 'west.org'))).toEqual(
      JSON.parse(await admin(west, 'bundle', 'show', '--format', 'spiffe')),
    );
  });

  test('[SPIFFE Federation §5.2.2] an endpoint with another SPIFFE ID than expected is refused', async () => {
    await admin(
      east,
      'federation',
      'update',
      '--trust-domain',
      'west.org',
      '--bundle-endpoint-profile',
      'https_spiffe',
      '--endpoint-spiffe-id',
      'spiffe://west.org/other',
    );
    const { code, stderr } = await tryAdmin(east, 'federation', 'refresh', '--trust-domain', 'west.org');
    expect(code).toBe(1);
    expect(stderr).toContain('bundle endpoint is spiffe://west.org/spire/server, expected spiffe://west.org/other');
    await admin(
      east,
      'federation',
      'update',
      '--trust-domain',
      'west.org',
      '--bundle-endpoint-profile',
      'https_spiffe',
      '--endpoint-spiffe-id',
      'spiffe://west.org/spire/server',
    );
    await admin(east, 'federation', 'refresh', '--trust-domain', 'west.org');
  });

  test('[SPIFFE Federation §5.1] a rotated authority reaches the other trust domain at the pace of the refresh hint', async () => {
    const state = JSON.parse(await admin(west, 'authority', 'prepare', '--kind', 'jwt', '--output', 'json')) as {
      authorityId: string;
    }[];
    const keyId = state[0]?.authorityId ?? '?';
    await until(
      () => bundleAt(east, 'west.org'),
      (document) => document.includes(keyId),
      15,
    );
  });

  describe.skipIf(!isInstalled('go'))('workloads on go-spiffe (needs go)', () => {
    let workload: string;
    let agents: readonly [AgentProcess, AgentProcess];
    beforeAll(async () => {
      workload = await goProgram('workload');
      agents = await Promise.all([
        AgentProcess.start(east, { trustDomain: 'east.org' }),
        AgentProcess.start(west, { trustDomain: 'west.org' }),
      ]);
      const [eastAgent, westAgent] = agents;
      const entry = (path: string, parent: string, other: string): readonly string[] => [
        'entry',
        'create',
        '--spiffe-id',
        path,
        '--parent-id',
        parent,
        '--selector',
        `unix:uid:${UID}`,
        '--federates-with',
        other,
      ];
      await admin(east, ...entry('spiffe://east.org/client', eastAgent.id, 'west.org'));
      await admin(west, ...entry('spiffe://west.org/server', westAgent.id, 'east.org'));
    });
    afterAll(async () => {
      for (const agent of agents) await agent[Symbol.asyncDispose]();
    });

    test('[SPIFFE Federation §4.2, §5.1] [go-spiffe] mTLS between the two trust domains: each bundle under its own name', async () => {
      const [eastAgent, westAgent] = agents;
      const words = ['-addr', `unix:${westAgent.socket}`, '-authorize', 'spiffe://east.org/client', 'serve', '127.0.0.1:0'];
      const { spawn } = await import('node:child_process');
      const server = spawn(workload, words, { stdio: ['ignore', 'pipe', 'inherit'] });
      try {
        const [line] = (await once(server.stdout, 'data')) as [Buffer];
        const { listening } = JSON.parse(line.toString()) as { listening: string };
        const client = ['-addr', `unix:${eastAgent.socket}`, '-authorize', 'spiffe://west.org/server', 'dial', listening];
        const { code, stdout } = await runToEnd(workload, client);
        expect({ code, answer: JSON.parse(stdout) as unknown }).toMatchObject({
          code: 0,
          answer: { peer: 'spiffe://west.org/server', reply: 'spiffe://east.org/client hello' },
        });
        const stranger = ['-addr', `unix:${eastAgent.socket}`, '-authorize', 'spiffe://west.org/another', 'dial', listening];
        expect((await runToEnd(workload, stranger)).code).toBe(1);
      } finally {
        server.kill();
      }
    });

    test('[Workload API §5.2] an entry without federatesWith gets no foreign bundle', async () => {
      const [eastAgent] = agents;
      const id = JSON.parse(await admin(east, 'entry', 'show', '--output', 'json')) as { entryId: string }[];
      const trusts = async (): Promise<readonly string[]> => {
        const { stdout } = await countersign(['fetch', 'x509', '--socket', eastAgent.socket, '--output', 'json']);
        return (JSON.parse(stdout) as { trusts: string[] }[])[0]?.trusts ?? [];
      };
      expect(new Set(await trusts())).toEqual(new Set(['east.org', 'west.org']));
      await admin(east, 'entry', 'delete', '--entry-id', id[0]?.entryId ?? '');
      await admin(
        east,
        'entry',
        'create',
        '--spiffe-id',
        'spiffe://east.org/alone',
        '--parent-id',
        eastAgent.id,
        '--selector',
        `unix:uid:${UID}`,
      );
      expect(await until(trusts, (names) => names.length === 1, 5)).toEqual(['east.org']);
    });
  });

  test('[SPIFFE Federation §6.2] the last good bundle stays while the endpoint is down', async () => {
    const before = await bundleAt(east, 'west.org');
    await west.stop();
    const { code, stderr } = await tryAdmin(east, 'federation', 'refresh', '--trust-domain', 'west.org');
    expect(code).toBe(1);
    expect(stderr).toContain('failed to refresh bundle: cannot fetch the bundle from https://127.0.0.1');
    expect(await bundleAt(east, 'west.org')).toBe(before);
  });
});

describe('an endpoint of the web, https_web', () => {
  let ca: CaProcess;
  let server: Server;
  let port: number;
  // What the endpoint answers with: a document, or where to it redirects.
  let answer: { readonly body?: string; readonly location?: string } = {};
  const foreign = TestCa.create({ trustDomain: 'web.org' });
  beforeAll(async () => {
    const web = TestCa.create({ trustDomain: 'roots.example' });
    writeFileSync(join(folder, 'web-root.pem'), web.rootPem);
    const leaf = issueCertificate(web.root, { subject: { commonName: 'localhost' }, dnsNames: ['localhost'] });
    const key = leaf.key.privateKey.export({ type: 'pkcs8', format: 'pem' });
    writeFileSync(join(folder, 'web.crt'), encodePem('CERTIFICATE', leaf.der));
    writeFileSync(join(folder, 'web.key'), key);
    server = createServer({ cert: encodePem('CERTIFICATE', leaf.der), key }, (_request, response) => {
      if (answer.location === undefined) response.end(answer.body);
      else response.writeHead(302, { location: answer.location }).end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    // The cast is sound: it listens on TCP.
    ({ port } = server.address() as AddressInfo);
    ca = await CaProcess.start({
      yaml: `federation: { allowPrivateHosts: [localhost], webRootFiles: ["${join(folder, 'web-root.pem')}"] }`,
    });
    await admin(
      ca,
      'federation',
      'create',
      '--trust-domain',
      'web.org',
      '--bundle-endpoint-profile',
      'https_web',
      '--bundle-endpoint-url',
      `https://localhost:${port}/bundle`,
    );
  });
  afterAll(async () => {
    server.close();
    await ca[Symbol.asyncDispose]();
  });

  const document = (sequence: number): string =>
    JSON.stringify({
      keys: [{ kty: 'EC', use: 'x509-svid', crv: 'P-256', ...jwkOf(foreign), x5c: [pemBody(foreign.rootPem)] }],
      spiffe_sequence: sequence,
      spiffe_refresh_hint: 600,
    });
  const refresh = (): Promise<Finished> => tryAdmin(ca, 'federation', 'refresh', '--trust-domain', 'web.org');
  const sequence = async (): Promise<number> =>
    (
      JSON.parse(await admin(ca, 'bundle', 'list', '--trust-domain', 'web.org', '--format', 'spiffe')) as {
        spiffe_sequence: number;
      }
    ).spiffe_sequence;

  test('[SPIFFE Federation §5, §5.2.1.2] is fetched with the roots of the web', async () => {
    answer = { body: document(5) };
    expect(await refresh()).toMatchObject({ code: 0, stderr: '' });
    expect(await sequence()).toBe(5);
  });

  test('[SPIFFE Federation §5.2.1] ours fetches from ours', async () => {
    const files = `certFile: ${join(folder, 'web.crt')}, keyFile: ${join(folder, 'web.key')}`;
    await using peer = await CaProcess.start({
      trustDomain: 'peer.org',
      yaml: `federation: { endpoint: { profile: https_web } }\npublicTls: { ${files} }`,
    });
    const url = `https://localhost:${peer.publicPort}/`;
    await admin(
      ca,
      ...`federation create --trust-domain peer.org --bundle-endpoint-profile https_web --bundle-endpoint-url ${url}`.split(' '),
    );
    await admin(ca, 'federation', 'refresh', '--trust-domain', 'peer.org');
    const fetched = await admin(ca, 'bundle', 'list', '--trust-domain', 'peer.org', '--format', 'spiffe');
    expect(JSON.parse(fetched)).toEqual(JSON.parse(await admin(peer, 'bundle', 'show', '--format', 'spiffe')));
    await admin(ca, 'federation', 'delete', '--trust-domain', 'peer.org');
  });

  test('[SPIFFE Federation §4.2] a lower sequence number changes nothing, a higher one does', async () => {
    answer = { body: document(4) };
    expect((await refresh()).code).toBe(0);
    expect(await sequence()).toBe(5);
    answer = { body: document(6) };
    expect((await refresh()).code).toBe(0);
    expect(await sequence()).toBe(6);
  });

  test.each([
    ['no JSON', { body: '<html>' }],
    ['a JWK set without keys', { body: '{"keys": {}}' }],
    ['more than a mebibyte', { body: `${' '.repeat(1024 * 1024)}${document(9)}` }],
  ])('[SPIFFE Federation §6.2] %s is refused, and the last good bundle stays', async (_, bad) => {
    answer = bad;
    expect((await refresh()).code).toBe(1);
    expect(await sequence()).toBe(6);
  });

  test('an address that was not allowed by name is not called, not even after a redirect', async () => {
    answer = { location: `https://127.0.0.1:${port}/bundle` };
    const redirected = await refresh();
    expect(redirected.code).toBe(1);
    expect(redirected.stderr).toContain('name it in federation.allowPrivateHosts');
    for (const url of [
      'https://169.254.169.254/latest/meta-data',
      'https://[::ffff:10.0.0.1]/',
      'https://2130706433/',
      'https://[::1]/',
    ]) {
      await admin(ca, 'federation', 'update', '--trust-domain', 'web.org', '--bundle-endpoint-url', url);
      const { code, stderr } = await refresh();
      expect({ url, code, forbidden: stderr.includes('federation.allowPrivateHosts') }).toEqual({
        url,
        code: 1,
        forbidden: true,
      });
    }
  });

  test('[SPIFFE Federation §5.2.1.1, §5.2.2.1] a plain URL or one with a user is refused', async () => {
    for (const url of ['http://localhost/bundle', 'https://me@localhost/bundle']) {
      const { code } = await tryAdmin(ca, 'federation', 'update', '--trust-domain', 'web.org', '--bundle-endpoint-url', url);
      expect({ url, code }).toEqual({ url, code: 1 });
    }
  });
});

function pemBody(pem: string): string {
  return pem.replaceAll(/-----[^-]+-----|\s/g, '');
}

function jwkOf({ root }: TestCa): object {
  const { x, y } = root.key.publicKey.export({ format: 'jwk' });
  return { x, y };
}

describe.skipIf(spireBinaries === undefined)('with a SPIRE server (needs SPIRE_BIN)', () => {
  let ours: CaProcess;
  let spire: SpireServer;
  let endpointPort: number;
  beforeAll(async () => {
    const { freePort } = await import('../support/free-port.ts');
    endpointPort = await freePort();
    ours = await CaProcess.start({
      trustDomain: 'ours.org',
      yaml: `federation: { ${ENDPOINT}, allowPrivateHosts: ["127.0.0.1"] }`,
    });
    const home = mkdtempSync(join(folder, 'spire-'));
    const endpoint = `bundle_endpoint { address = "127.0.0.1" port = ${endpointPort} refresh_hint = "5s" profile "https_spiffe" {} }`;
    spire = await startSpireServer({ folder: home, trustDomain: 'spire.org', settings: `federation { ${endpoint} }` });
  });
  afterAll(async () => {
    await spire[Symbol.asyncDispose]();
    await ours[Symbol.asyncDispose]();
  });

  async function spireServer(...words: readonly string[]): Promise<string> {
    const socket = spire.admin.replace('unix:', '');
    const { code, stdout, stderr } = await runToEnd(
      join(spireBinaries ?? '', 'spire-server'),
      [...words, '-socketPath', socket],
      { cwd: folder },
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return stdout;
  }

  test('[SPIRE server] its bundle is fetched by us, and follows its rotation', async () => {
    writeFileSync(join(folder, 'spire.json'), await spireServer('bundle', 'show', '-format', 'spiffe'));
    await admin(
      ours,
      'federation',
      'create',
      '--trust-domain',
      'spire.org',
      '--bundle-endpoint-profile',
      'https_spiffe',

      '--bundle-endpoint-url',
      `https://127.0.0.1:${endpointPort}`,
      '--endpoint-spiffe-id',
      'spiffe://spire.org/spire/server',
      '--trust-domain-bundle-path',
      'spire.json',
      '--trust-domain-bundle-format',
      'spiffe',
    );
    await admin(ours, 'federation', 'refresh', '--trust-domain', 'spire.org');
    const prepared = await spireServer('localauthority', 'jwt', 'prepare');
    const [, keyId = '?'] = /Authority ID: (\S+)/.exec(prepared) ?? [];
    const list = (): Promise<string> => admin(ours, 'bundle', 'list', '--trust-domain', 'spire.org', '--format', 'spiffe');
    await until(list, (text) => text.includes(keyId), 20);
  });

  test('[SPIRE server] it fetches our bundle', async () => {
    writeFileSync(join(folder, 'ours.json'), await admin(ours, 'bundle', 'show', '--format', 'spiffe'));
    await spireServer(
      'federation',
      'create',
      '-trustDomain',
      'ours.org',
      '-bundleEndpointProfile',
      'https_spiffe',
      '-bundleEndpointURL',
      `https://127.0.0.1:${ours.publicPort}`,
      '-endpointSpiffeID',
      'spiffe://ours.org/spire/server',
      '-trustDomainBundlePath',
      'ours.json',
      '-trustDomainBundleFormat',
      'spiffe',
    );
    const state = JSON.parse(await admin(ours, 'authority', 'prepare', '--kind', 'jwt', '--output', 'json')) as {
      authorityId: string;
    }[];
    await spireServer('federation', 'refresh', '-id', 'ours.org');
    const list = (): Promise<string> => spireServer('bundle', 'list', '-id', 'spiffe://ours.org', '-format', 'spiffe');
    expect(await list()).toContain(state[0]?.authorityId ?? '?');
  });
});
