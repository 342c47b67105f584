// `countersign` against a running CA: entries, nodes, bundles, authorities, SVIDs by hand, remote administration.
import { createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose';
import { parse as parseYaml } from 'yaml';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AgentProcess } from '../support/agent-process.ts';
import { CaProcess } from '../support/ca-process.ts';
import { countersign, type Finished } from '../support/command.ts';
import { TestCa } from '../support/test-ca.ts';

let ca: CaProcess;
let agent: AgentProcess;
beforeAll(async () => {
  ca = await CaProcess.start({ yaml: 'federation: { allowPrivateHosts: ["127.0.0.1"] }' });
  agent = await AgentProcess.start(ca);
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await ca[Symbol.asyncDispose]();
});

/** Runs the command with the words of a line, the CA's socket named by the environment. */
function run(line: string, input = ''): Promise<Finished> {
  const environment = { COUNTERSIGN_ADMIN_SOCKET: ca.socket, SPIFFE_ENDPOINT_SOCKET: `unix://${agent.socket}` };
  return countersign(line.split(' '), { cwd: ca.folder, environment, input });
}

async function output(line: string, input?: string): Promise<string> {
  const { code, stdout, stderr } = await run(line, input);
  expect({ line, code, stderr }).toEqual({ line, code: 0, stderr: '' });
  return stdout;
}

async function rows(line: string, input?: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  // The cast is sound: --output json always prints a list of objects.
  return JSON.parse(await output(`${line} --output json`, input)) as Record<string, unknown>[];
}

async function failure(line: string, input?: string): Promise<string> {
  const { code, stdout, stderr } = await run(line, input);
  expect({ line, code, stdout }).toEqual({ line, code: 1, stdout: '' });
  // A message, never a stack.
  expect(stderr).not.toMatch(/^ +at /m);
  return stderr;
}

const CREATE = 'entry create --spiffe-id spiffe://example.org/web --parent-id spiffe://example.org/node';

describe('entry', () => {
  test('create, show, update, count, delete', async () => {
    const [created] = await rows(`${CREATE} --selector unix:uid:1 --dns a.example --hint in --x509-svid-ttl 30m --downstream`);
    expect(created).toMatchObject({
      spiffeId: 'spiffe://example.org/web',
      selectors: ['unix:uid:1'],
      x509SvidTtl: 1800,
      jwtSvidTtl: 0,
      dnsNames: ['a.example'],
      hint: 'in',
      downstream: true,
    });
    const id = String(created?.['entryId']);
    expect(await rows(`entry show --entry-id ${id}`)).toEqual([created]);
    expect(await rows('entry show --selector unix:uid:1 --hint in --downstream')).toEqual([created]);
    expect(await rows('entry show --selector unix:uid:2')).toEqual([]);
    expect(await output('entry count')).toBe('1\n');
    const [updated] = await rows(`entry update --entry-id ${id} --no-downstream --jwt-svid-ttl 60 --jwt-svid-include-jti`);
    expect(updated).toMatchObject({ hint: 'in', jwtSvidTtl: 60, jwtSvidIncludeJti: true, revision: 1 });
    expect(updated).not.toHaveProperty('downstream');
    const [again] = await rows(`entry update --entry-id ${id} --disable-x509-svid-prefetch`);
    expect(again).toMatchObject({ jwtSvidIncludeJti: true, disableX509SvidPrefetch: true });
    const [claiming] = await rows(`entry update --entry-id ${id} --jwt-claims {"team":"payments"}`);
    expect(claiming).toMatchObject({ jwtClaims: { team: 'payments' }, jwtSvidIncludeJti: true });
    expect(await output(`entry show --entry-id ${id}`)).toMatch(/jwtClaims +\{"team":"payments"\}/);
    const [kept] = await rows(`entry update --entry-id ${id} --hint out`);
    expect(kept).toMatchObject({ jwtClaims: { team: 'payments' }, hint: 'out' });
    expect(await failure(`entry update --entry-id ${id} --jwt-claims {"sub":"x"}`)).toContain('"sub"');
    expect(await failure(`entry update --entry-id ${id} --jwt-claims [1]`)).toContain('must be a JSON object');
    const [unclaimed] = await rows(`entry update --entry-id ${id} --jwt-claims {}`);
    expect(unclaimed).not.toHaveProperty('jwtClaims');
    const [placed] = await rows(`entry update --entry-id ${id} --namespace shop --service-account web`);
    expect(placed).toMatchObject({ namespace: 'shop', serviceAccount: 'web', hint: 'out' });
    expect(await output(`entry delete --entry-id ${id}`)).toBe(`deleted entry ${id}\n`);
    expect(await failure(`entry delete --entry-id ${id}`)).toContain('not found');
    expect(await failure(`entry show --entry-id ${id}`)).toMatch(/^not_found: /);
  });

  test('says what is missing or wrong', async () => {
    expect(await failure('entry create --spiffe-id spiffe://example.org/a')).toContain('--parent-id ID is missing');
    expect(await failure(CREATE)).toContain('at least one --selector TYPE:VALUE is needed');
    expect(await failure(`${CREATE} --selector nocolon`)).toContain('write TYPE:VALUE, such as unix:uid:1000');
    expect(await failure(`${CREATE} --selector a:b --x509-svid-ttl soon`)).toMatch(/^invalid_argument: .*soon/);
    expect(await failure('entry create --spiffe-id http://x --parent-id spiffe://example.org/p --selector a:b')).toMatch(
      /^invalid_argument: /,
    );
    expect(await failure(`${CREATE} --selector a:b --nonsense`)).toContain('see countersign entry create --help');
    expect(await failure('entry update --entry-id x')).toContain('nothing to change');
    await output(`${CREATE} --selector unix:uid:3`);
    const { code, stderr } = await run(`${CREATE} --selector unix:uid:3`);
    expect(code).toBe(1);
    expect(stderr).toContain('not created (entry ');
    expect(stderr).toContain('already exists');
  });

  test('takes option names as spire-server has them', async () => {
    const [entry] = await rows(
      'entry create -spiffeID spiffe://example.org/spire-words -parentID=spiffe://example.org/n -selector unix:uid:4 -x509SVIDTTL 60 -entryExpiry 1999999999',
    );
    expect(entry).toMatchObject({
      spiffeId: 'spiffe://example.org/spire-words',
      x509SvidTtl: 60,
      expiresAt: '2033-05-18T03:33:19Z',
    });
    expect(await rows('entry show --spiffeID spiffe://example.org/spire-words')).toHaveLength(1);
  });

  test('create --data reads our YAML, SPIRE’s JSON and standard input', async () => {
    const ours =
      'entries:\n  - { spiffeId: spiffe://example.org/yaml, parentId: spiffe://example.org/n, selectors: [unix:uid:5], x509SvidTtl: 10m }\n';
    writeFileSync(join(ca.folder, 'entries.yaml'), ours);
    expect(await rows('entry create --data entries.yaml')).toMatchObject([{ selectors: ['unix:uid:5'], x509SvidTtl: 600 }]);
    const spires = {
      entries: [
        {
          selectors: [{ type: 'unix', value: 'uid:6' }],
          spiffe_id: 'spiffe://example.org/json',
          parent_id: 'spiffe://example.org/n',
          x509_svid_ttl: 200,
          jwt_svid_ttl: 30,
          admin: true,
          entryExpiry: 1_999_999_999,
          additional_attributes: { jwt_svid_include_jti: true },
        },
        { selectors: [{ type: 'a', value: 'b' }], spiffe_id: 'spiffe://example.org/two', parent_id: 'spiffe://example.org/n' },
      ],
    };
    expect(await rows('entry create --data -', JSON.stringify(spires))).toMatchObject([
      { admin: true, jwtSvidTtl: 30, expiresAt: '2033-05-18T03:33:19Z', jwtSvidIncludeJti: true },
      { spiffeId: 'spiffe://example.org/two' },
    ]);
  });

  test.each(['json', 'yaml'])('what show prints as %s can be given to create --data', async (format) => {
    const words = `--selector unix:uid:7 --dns ${format}.example --hint ${format} --namespace shop --service-account ${format} --jwt-svid-ttl 60 --expires-at 2033-05-18T03:33:19Z`;
    const [made] = await rows(`${CREATE} ${words} --admin --disable-x509-svid-prefetch`);
    const id = String(made?.['entryId']);
    const printed = await output(`entry show ${id} --output ${format}`);
    await output(`entry delete ${id}`);
    const [again] = await rows('entry create --data -', printed);
    expect({ ...again, createdAt: '' }).toEqual({ ...made, createdAt: '' });
    expect(await output(`entry show ${id}`)).toMatch(/^selector +unix:uid:7\nx509SvidTtl +default\njwtSvidTtl +60s\n/m);
    await output(`entry delete ${id}`);
  });

  test('create --data reports every fault of a file with its path', async () => {
    const faulty = JSON.stringify({
      entries: [{ spiffe_id: 'x', parent_id: 'spiffe://example.org/n', selectors: ['nocolon'], ttl: 3 }],
    });
    const message = await failure('entry create --data -', faulty);
    for (const path of ['entries[0].spiffeId', 'entries[0].selectors[0]', 'entries[0].ttl']) expect(message).toContain(path);
    expect(await failure('entry create --data missing.yaml')).toMatch(/^invalid_argument: cannot read missing.yaml/);
    expect(await failure('entry create --data -', 'entries: []')).toContain('holds no entries');
  });
});

describe('--output', () => {
  test('prints JSON, YAML and tables, and refuses anything else', async () => {
    const json = await rows('entry show --spiffe-id spiffe://example.org/two');
    expect(parseYaml(await output('entry show --spiffe-id spiffe://example.org/two --output yaml'))).toEqual(json);
    const table = await output('entry show --spiffe-id spiffe://example.org/two');
    expect(table).toMatch(/^entryId +\S+\nspiffeId +spiffe:\/\/example.org\/two\n/);
    expect(await failure('entry show --output xml')).toContain('use table, json or yaml');
    expect(await output('authority show')).toMatch(/^KIND +STATE +AUTHORITYID +EXPIRESAT\nx509 +active +[0-9a-f]{40} /);
  });
});

describe('token and agent', () => {
  test('token prints it alone, as JSON, or into a file of mode 0600', async () => {
    expect(await output('token')).toMatch(/^[0-9a-f-]{36}\n$/);
    expect(await rows('token --ttl 1m')).toEqual([{ token: expect.any(String), expiresAt: expect.stringMatching(/Z$/) }]);
    expect(await output('token --write-to join --spiffe-id spiffe://example.org/alias')).toContain('it works once, until');
    expect(statSync(join(ca.folder, 'join')).mode & 0o777).toBe(0o600);
    const token = readFileSync(join(ca.folder, 'join'), 'utf8').trim();
    expect(await rows('entry show --spiffe-id spiffe://example.org/alias')).toMatchObject([
      { parentId: `spiffe://example.org/spire/agent/join_token/${token}` },
    ]);
  });

  test('agent list, show, count, ban, evict', async () => {
    const victim = await AgentProcess.start(ca);
    try {
      expect(new Set((await rows('agent list')).map((row) => row['spiffeId']))).toEqual(new Set([agent.id, victim.id]));
      expect(await output('agent count')).toBe('2\n');
      expect(await output(`agent ban --spiffe-id ${victim.id}`)).toContain('its node gets no identity until somebody evicts it');
      expect(await rows(`agent show --spiffe-id ${victim.id}`)).toMatchObject([{ banned: true, attestationType: 'join_token' }]);
      expect(await output(`agent evict --spiffe-id ${victim.id}`)).toContain('it must attest again');
      expect(await failure(`agent show --spiffe-id ${victim.id}`)).toMatch(/^not_found: /);
    } finally {
      await victim[Symbol.asyncDispose]();
    }
  });
});

describe('bundle and federation', () => {
  const other = TestCa.create({ trustDomain: 'other.org' });

  test('show, set, list and delete', async () => {
    expect(new X509Certificate(await output('bundle show')).ca).toBe(true);
    // The cast is sound: a SPIFFE bundle is a JWK set.
    const { keys } = JSON.parse(await output('bundle show --format spiffe')) as { keys: { use: string }[] };
    expect(new Set(keys.map(({ use }) => use))).toEqual(new Set(['x509-svid', 'jwt-svid', 'wit-svid']));
    expect(await output('bundle set --trust-domain other.org', other.rootPem)).toBe('bundle of other.org set\n');
    writeFileSync(join(ca.folder, 'other.pem'), other.rootPem);
    expect(await output('bundle set -id spiffe://other.org -path other.pem')).toBe('bundle of other.org set\n');
    expect(await output('bundle list')).toBe(`# other.org\n${other.rootPem}`);
    expect(await output('bundle list --trust-domain other.org')).toBe(other.rootPem);
    await output(`${CREATE} --selector unix:uid:7 --federates-with other.org`);
    expect(await failure('bundle delete --trust-domain other.org')).toContain('the CA refused');
    expect(await output('bundle delete --trust-domain other.org --mode dissociate')).toBe('bundle of other.org deleted\n');
    expect(await failure('bundle set --trust-domain other.org', 'no PEM')).toMatch(/^invalid_argument: /);
    expect(await failure('bundle list --format der')).toContain('use pem or spiffe');
    expect(await failure('bundle delete --trust-domain other.org --mode hard')).toContain('restrict, delete, dissociate');
  });

  test('[SPIFFE Federation §5.1] federation create asks for URL, profile and trust domain; list, show, update, refresh, delete', async () => {
    const create = 'federation create --trust-domain other.org --bundle-endpoint-url https://127.0.0.1:9/';
    expect(await failure(create)).toContain('--bundle-endpoint-profile https_web|https_spiffe is missing');
    expect(await failure(`${create} --bundle-endpoint-profile https_spiffe`)).toContain('together with --endpoint-spiffe-id ID');
    expect(await failure('federation create --trust-domain other.org')).toContain('--bundle-endpoint-url URL is missing');
    const [made] = await rows(
      `${create} --bundle-endpoint-profile https_spiffe --endpoint-spiffe-id spiffe://other.org/server --trust-domain-bundle-path -`,
      other.rootPem,
    );
    expect(made).toMatchObject({ bundleEndpointProfile: 'https_spiffe', endpointSpiffeId: 'spiffe://other.org/server' });
    expect(await rows('federation list')).toEqual([made]);
    const [updated] = await rows('federation update --trust-domain other.org --bundle-endpoint-url https://127.0.0.1:9/b');
    expect(updated).toMatchObject({ bundleEndpointUrl: 'https://127.0.0.1:9/b', bundleEndpointProfile: 'https_spiffe' });
    expect(await rows('federation show --trust-domain other.org')).toEqual([updated]);
    expect(await failure('federation refresh --trust-domain other.org')).toContain('cannot fetch the bundle from');
    expect(await output('federation delete --trust-domain other.org')).toContain('its last bundle stays in use');
    expect(await rows('federation list')).toEqual([]);
    expect(await failure('federation show --trust-domain other.org')).toMatch(/^not_found: /);
  });
});

describe('authority', () => {
  test.each(['x509', 'jwt', 'wit'])('%s: prepare, activate, taint, revoke', async (kind) => {
    const stateOf = async (state: string): Promise<string> => {
      const row = (await rows(`authority show --kind ${kind}`)).find((each) => each['state'] === state);
      return String(row?.['authorityId']);
    };
    const first = await stateOf('active');
    const [prepared] = await rows(`authority prepare --kind ${kind}`);
    const next = String(prepared?.['authorityId']);
    expect(await failure(`authority taint --kind ${kind} --authority-id ${first}`)).toContain('activate another one first');
    await output(`authority activate --kind ${kind} --authority-id ${next}`);
    expect([await stateOf('active'), await stateOf('old')]).toEqual([next, first]);
    expect(await rows(`authority taint --kind ${kind} --authority-id ${first}`)).toMatchObject([{ state: 'tainted' }]);
    // What may be revoked can be seen.
    expect(await rows(`authority show --kind ${kind}`)).toMatchObject([
      { state: 'active', authorityId: next },
      { state: 'tainted', authorityId: first },
    ]);
    expect(await rows(`authority revoke --kind ${kind} --authority-id ${first}`)).toMatchObject([{ state: 'revoked' }]);
  });

  test('says which kinds there are', async () => {
    expect(await failure('authority show --kind ssh')).toContain('use x509, jwt, wit');
    expect(await failure('authority activate --kind x509')).toContain('--authority-id ID is missing');
  });
});

describe('mint', () => {
  test('x509 writes files that belong together, mode 0600', async () => {
    expect(await output('x509 mint --spiffe-id spiffe://example.org/m --dns a.example --ttl 10m --write minted')).toContain(
      'wrote svid.pem, key.pem, bundle.pem into minted',
    );
    const file = (name: string): string => readFileSync(join(ca.folder, 'minted', name), 'utf8');
    const leaf = new X509Certificate(file('svid.pem'));
    expect(leaf.subjectAltName).toBe('DNS:a.example, URI:spiffe://example.org/m');
    expect(leaf.publicKey.equals(createPublicKey(file('key.pem')))).toBe(true);
    expect(statSync(join(ca.folder, 'minted', 'key.pem')).mode & 0o777).toBe(0o600);
    expect(await output('x509 mint --spiffe-id spiffe://example.org/m')).toContain('-----BEGIN PRIVATE KEY-----');
    expect(await failure('x509 mint --spiffe-id spiffe://example.org/spire/x')).toMatch(/^invalid_argument: /);
  });

  test('jwt prints a token that verifies with the bundle', async () => {
    const token = (await output('jwt mint --spiffe-id spiffe://example.org/m --audience a --audience b --ttl 60')).trim();
    // The cast is sound: a SPIFFE bundle is a JWK set.
    const { keys } = JSON.parse(await output('bundle show --format spiffe')) as JSONWebKeySet;
    const jwtKeys = keys.filter(({ use }) => use === 'jwt-svid').map(({ use: _, ...key }) => key);
    const { payload } = await jwtVerify(token, createLocalJWKSet({ keys: jwtKeys }), { audience: 'b' });
    expect(payload.sub).toBe('spiffe://example.org/m');
    expect(await failure('jwt mint --spiffe-id spiffe://example.org/m')).toContain('--audience TEXT is missing');
  });

  test('wit writes a token and its key', async () => {
    await output('wit mint --spiffe-id spiffe://example.org/m --write wit');
    const token = readFileSync(join(ca.folder, 'wit', 'svid.token'), 'utf8');
    // The casts are sound: the token's second part and the key are JSON objects.
    const { cnf } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { cnf: { jwk: { x: string } } };
    const { x } = JSON.parse(readFileSync(join(ca.folder, 'wit', 'key.jwk'), 'utf8')) as { x: string };
    expect(cnf.jwk.x).toBe(x);
  });
});

describe('finding the CA', () => {
  test('by --config, by --socket, or a message that says what to do', async () => {
    const plain = (line: string): Promise<Finished> => countersign(line.split(' '), { cwd: ca.folder });
    expect((await plain('agent count --config ca.yaml')).stdout).toBe('1\n');
    expect((await plain(`agent count --socket ${ca.socket}`)).stdout).toBe('1\n');
    expect((await plain('ca healthcheck --config ca.yaml')).stdout).toBe('serving\n');
    const nowhere = await plain('agent count');
    expect(nowhere).toMatchObject({ code: 1, stdout: '' });
    expect(nowhere.stderr).toMatch(/^unavailable: cannot connect to .*run\/ca\/admin.sock.*is it running\?/);
    expect((await plain('ca healthcheck --socket ./none.sock')).stderr).toMatch(/^not serving: cannot connect/);
  });

  test('--server: a remote admin over mTLS, and nobody else', async () => {
    const remote = `entry count --server 127.0.0.1:${ca.grpcPort}`;
    const uid = process.getuid?.() ?? 0;
    expect(await failure(remote)).toMatch(/^permission_denied: .*no identity issued/);
    const add = `entry create --spiffe-id spiffe://example.org/ops --parent-id ${agent.id} --selector unix:uid:${uid}`;
    const [entry] = await rows(add);
    await run(`fetch x509`);
    expect(await failure(remote)).toMatch(/^permission_denied: /);
    await output(`entry update --entry-id ${String(entry?.['entryId'])} --admin`);
    expect(await output(remote)).toMatch(/^\d+\n$/);
  });
});
