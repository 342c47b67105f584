// SPIRE's own `spire-server` command administers our CA over its private socket.
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AgentProcess } from '../support/agent-process.ts';
import { CaProcess } from '../support/ca-process.ts';
import { runToEnd, type Finished } from '../support/command.ts';
import { spireBinaries } from '../support/spire.ts';
import { TestCa } from '../support/test-ca.ts';

describe.skipIf(spireBinaries === undefined)('the spire-server command (needs SPIRE_BIN)', () => {
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

  function spireServer(...words: readonly string[]): Promise<Finished> {
    return runToEnd(join(spireBinaries ?? '', 'spire-server'), [...words, '-socketPath', ca.socket], { cwd: ca.folder });
  }

  /** Its standard output, once it has succeeded. */
  async function output(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await spireServer(...words);
    // It calls a lifetime capped that ends at a full second, its own server's as well.
    const unexpected = stderr.replace(/^.*lifetime was capped shorter than specified ttl.*\n/, '');
    expect({ code, unexpected }).toEqual({ code: 0, unexpected: '' });
    return stdout;
  }

  async function json(...words: readonly string[]): Promise<Record<string, unknown>> {
    // The cast is sound: the command prints one JSON object.
    return JSON.parse(await output(...words, '-output', 'json')) as Record<string, unknown>;
  }

  const WEB = ['-spiffeID', 'spiffe://example.org/web', '-parentID', 'spiffe://example.org/node'];

  test('[spire-server healthcheck]', async () => {
    expect(await output('healthcheck')).toBe('Server is healthy.\n');
  });

  test('[spire-server entry] create, show, update, count and delete', async () => {
    const words = [
      '-x509SVIDTTL',
      '600',
      '-jwtSVIDTTL',
      '60',
      '-dns',
      'web.example.org',
      '-hint',
      'ext',
      '-downstream',
      '-admin',
    ];
    const created = await output('entry', 'create', ...WEB, '-selector', 'unix:uid:1', '-selector', 'unix:gid:2', ...words);
    const [, id = ''] = /Entry ID +: (\S+)/.exec(created) ?? [];
    expect(created).toMatch(/X509-SVID TTL +: 600\nJWT-SVID TTL +: 60/);
    expect(await output('entry', 'show', '-entryID', id)).toContain('DNS name                : web.example.org');
    // It always says `downstream: false`, which must not hide what is downstream.
    expect(await output('entry', 'show')).toContain(id);
    expect(await output('entry', 'show', '-selector', 'unix:uid:1')).toContain('Found 1 entry');
    expect(await output('entry', 'show', '-selector', 'unix:uid:1', '-matchSelectorsOn', 'exact')).toContain('Found 0 entries');
    expect(await output('entry', 'count', '-hint', 'ext')).toBe('1 registration entry\n');
    const updated = await output('entry', 'update', '-entryID', id, ...WEB, '-selector', 'unix:uid:3');
    expect(updated).toMatch(/Revision +: 1/);
    expect(updated).toMatch(/Selector +: unix:uid:3/);
    expect(await output('entry', 'delete', '-entryID', id)).toContain(`Deleted entry with ID: ${id}`);
    expect(await output('entry', 'count')).toBe('0 registration entries\n');
  });

  test('[spire-server entry create] a similar entry, a bad one, a file of entries', async () => {
    const same = ['entry', 'create', ...WEB, '-selector', 'unix:uid:7'];
    await output(...same);
    const again = await spireServer(...same);
    expect(again.code).toBe(1);
    expect(again.stderr + again.stdout).toContain('code: AlreadyExists, msg: "similar entry already exists"');
    const foreign = await spireServer(
      'entry',
      'create',
      '-spiffeID',
      'spiffe://other.org/x',
      ...WEB.slice(2),
      '-selector',
      'a:b',
    );
    expect(foreign.code).toBe(1);
    expect(foreign.stderr + foreign.stdout).toContain('code: InvalidArgument');
    const entries = [
      {
        spiffe_id: 'spiffe://example.org/file',
        parent_id: 'spiffe://example.org/node',
        selectors: [{ type: 'unix', value: 'uid:8' }],
        x509_svid_ttl: 300,
        hint: 'file',
        entryExpiry: 1_999_999_999,
      },
    ];
    writeFileSync(join(ca.folder, 'entries.json'), JSON.stringify({ entries }));
    expect(await output('entry', 'create', '-data', 'entries.json')).toContain('spiffe://example.org/file');
    expect(await json('entry', 'show', '-spiffeID', 'spiffe://example.org/file')).toMatchObject({
      entries: [{ expires_at: '1999999999', hint: 'file', x509_svid_ttl: 300, selectors: [{ type: 'unix', value: 'uid:8' }] }],
    });
    const missing = await spireServer('entry', 'delete', '-entryID', 'nope');
    expect(missing.code).toBe(1);
    expect(missing.stderr + missing.stdout).toContain('code: NotFound');
  });

  test('[spire-server token generate] with an alias for the node', async () => {
    const text = await output('token', 'generate', '-spiffeID', 'spiffe://example.org/alias', '-ttl', '60');
    const [, token = ''] = /Token: (\S+)/.exec(text) ?? [];
    expect(await output('entry', 'show', '-spiffeID', 'spiffe://example.org/alias')).toContain(
      `Parent ID               : spiffe://example.org/spire/agent/join_token/${token}`,
    );
  });

  test('[spire-server agent] list, show, count, ban, evict', async () => {
    await using victim = await AgentProcess.start(ca);
    expect(await output('agent', 'list')).toContain(victim.id);
    expect(await output('agent', 'count')).toBe('2 attested agents\n');
    expect(await output('agent', 'show', '-spiffeID', victim.id)).toContain('Attestation type  : join_token');
    expect(await output('agent', 'ban', '-spiffeID', victim.id)).toContain('Agent banned successfully');
    expect(await json('agent', 'list', '-banned', 'true')).toMatchObject({ agents: [{ banned: true }] });
    expect(await output('agent', 'evict', '-spiffeID', victim.id)).toContain('Agent evicted successfully');
    expect(await output('agent', 'count')).toBe('1 attested agent\n');
    expect((await spireServer('agent', 'show', '-spiffeID', victim.id)).stderr).toContain('NotFound');
    expect(await output('agent', 'purge', '-dryRun')).toContain('No agents to purge');
  });

  test('[spire-server bundle] show, set, list and delete', async () => {
    const other = TestCa.create({ trustDomain: 'other.org' });
    writeFileSync(join(ca.folder, 'other.pem'), other.rootPem);
    const set = ['bundle', 'set', '-id', 'spiffe://other.org', '-path', 'other.pem'];
    expect(await output(...set)).toBe('bundle set.\n');
    expect(await output('bundle', 'list', '-id', 'spiffe://other.org')).toBe(other.rootPem);
    expect(await output('bundle', 'list')).toContain('* other.org');
    const refused = await (async () => {
      await output('entry', 'create', ...WEB, '-selector', 'unix:uid:9', '-federatesWith', 'spiffe://other.org');
      return spireServer('bundle', 'delete', '-id', 'spiffe://other.org');
    })();
    expect(refused.code).toBe(1);
    expect(await output('bundle', 'delete', '-id', 'spiffe://other.org', '-mode', 'dissociate')).toBe('bundle deleted.\n');
    const pem = await output('bundle', 'show');
    expect(new X509Certificate(pem).ca).toBe(true);
    // The cast is sound: a SPIFFE bundle is a JWK set.
    const { keys } = JSON.parse(await output('bundle', 'show', '-format', 'spiffe')) as { keys: { use: string }[] };
    expect(new Set(keys.map(({ use }) => use))).toEqual(new Set(['x509-svid', 'jwt-svid']));
  });

  test('[spire-server federation] create, show, list, update, refresh and delete', async () => {
    const other = TestCa.create({ trustDomain: 'peer.org' });
    writeFileSync(join(ca.folder, 'peer.pem'), other.rootPem);
    const endpoint = ['-bundleEndpointURL', 'https://127.0.0.1:9/bundle', '-bundleEndpointProfile', 'https_spiffe'];
    const spiffe = ['-endpointSpiffeID', 'spiffe://peer.org/server', '-trustDomainBundlePath', 'peer.pem'];
    const create = ['federation', 'create', '-trustDomain', 'spiffe://peer.org', ...endpoint, ...spiffe];
    expect(await output(...create)).toContain('Bundle endpoint profile   : https_spiffe');
    expect(await output('federation', 'show', '-trustDomain', 'peer.org')).toContain('spiffe://peer.org/server');
    expect(await output('federation', 'list')).toContain('https://127.0.0.1:9/bundle');
    const web = ['-bundleEndpointURL', 'https://127.0.0.1:9/other', '-bundleEndpointProfile', 'https_web'];
    expect(await output('federation', 'update', '-trustDomain', 'peer.org', ...web)).toContain('https_web');
    const refresh = await spireServer('federation', 'refresh', '-id', 'peer.org');
    expect(refresh.code).toBe(1);
    expect(refresh.stderr).toContain('failed to refresh bundle');
    expect(await output('federation', 'delete', '-id', 'peer.org')).toContain('federation relationship deleted');
    expect((await spireServer('federation', 'show', '-trustDomain', 'peer.org')).stderr).toContain('NotFound');
  });

  test('[spire-server x509 mint] writes an SVID that openssl verifies', async () => {
    await output('x509', 'mint', '-spiffeID', 'spiffe://example.org/minted', '-dns', 'a.example', '-ttl', '10m', '-write', '.');
    const verified = await runToEnd('openssl', ['verify', '-CAfile', 'bundle.pem', 'svid.pem'], { cwd: ca.folder });
    expect(verified.stdout).toBe('svid.pem: OK\n');
    expect(statSync(join(ca.folder, 'key.pem')).mode & 0o777).toBe(0o600);
    expect(new X509Certificate(readFileSync(join(ca.folder, 'svid.pem'))).subjectAltName).toContain('a.example');
  });

  test('[spire-server jwt mint]', async () => {
    const token = await output('jwt', 'mint', '-spiffeID', 'spiffe://example.org/minted', '-audience', 'api', '-ttl', '1m');
    // The cast is sound: a JWT's second part is a JSON object.
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, number>;
    expect(claims).toMatchObject({ sub: 'spiffe://example.org/minted', aud: ['api'] });
    expect((claims['exp'] ?? 0) - (claims['iat'] ?? 0)).toBeLessThanOrEqual(60);
  });

  test.each(['x509', 'jwt'])('[spire-server localauthority %s] prepare, activate, taint, revoke', async (kind) => {
    const show = () => json('localauthority', kind, 'show');
    // The cast is sound: each slot holds an authority with its ID.
    const idOf = (slot: unknown): string => (slot as { authority_id: string }).authority_id;
    const first = idOf((await show())['active']);
    const prepared = idOf((await json('localauthority', kind, 'prepare'))['prepared_authority']);
    await output('localauthority', kind, 'activate', '-authorityID', prepared);
    const states = await show();
    expect([idOf(states['active']), idOf(states['old'])]).toEqual([prepared, first]);
    expect((await spireServer('localauthority', kind, 'taint', '-authorityID', prepared)).code).toBe(1);
    expect(await output('localauthority', kind, 'taint', '-authorityID', first)).toContain(first);
    expect(await output('localauthority', kind, 'revoke', '-authorityID', first)).toContain(first);
  });

  test('[spire-server logger] get, set and reset', async () => {
    expect(await output('logger', 'get')).toContain('Logger Level : info');
    expect(await output('logger', 'set', '-level', 'debug')).toContain('Logger Level : debug');
    expect(await output('logger', 'reset')).toContain('Logger Level : info');
  });

  test('[spire-server debug getinfo]', async () => {
    expect(await json('debug', 'getinfo')).toMatchObject({ agents_count: expect.anything(), svid_chain: expect.anything() });
  });
});
