// `countersign` beside a running agent: fetch, validate, why, run, healthcheck.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { WorkloadApi } from '../../client/workload-api.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { AgentProcess } from '../support/agent-process.ts';
import { CaProcess } from '../support/ca-process.ts';
import { COMMAND, countersign, type Finished } from '../support/command.ts';

const UID = process.getuid?.() ?? 0;
const folder = mkdtempSync(join(tmpdir(), 'cli-'));
let ca: CaProcess;
let agent: AgentProcess;
beforeAll(async () => {
  ca = await CaProcess.start();
  agent = await AgentProcess.start(ca);
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await ca[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const environment = (): Record<string, string> => ({
  SPIFFE_ENDPOINT_SOCKET: `unix://${agent.socket}`,
  COUNTERSIGN_AGENT_ADMIN_SOCKET: agent.adminSocket,
});

function run(line: string, input = ''): Promise<Finished> {
  return countersign(line.split(' '), { cwd: folder, environment: environment(), input });
}

async function output(line: string, input?: string): Promise<string> {
  const { code, stdout, stderr } = await run(line, input);
  expect({ line, code, stderr }).toEqual({ line, code: 0, stderr: '' });
  return stdout;
}

/** Registers an identity for this user; yields its entry ID. */
async function register(path: string, selectors: readonly string[] = [`uid:${UID}`], ttlSeconds = 0, id = ''): Promise<string> {
  using admin = ca.connect();
  const { results } = await admin.client(Entry).batchCreateEntry({
    entries: [
      {
        spiffeId: { trustDomain: 'example.org', path },
        parentId: { trustDomain: 'example.org', path: new URL(agent.id).pathname },
        selectors: selectors.map((value) => ({ type: 'unix', value })),
        x509SvidTtl: ttlSeconds,
        id,
      },
    ],
  });
  return results[0]?.entry?.id ?? '';
}

async function forget(...ids: readonly string[]): Promise<void> {
  using admin = ca.connect();
  await admin.client(Entry).batchDeleteEntry({ ids: [...ids] });
}

describe('without an entry', () => {
  test('fetch and why say so, with an exit code', async () => {
    expect(await run('fetch x509')).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('permission_denied: '),
    });
    const { code, stdout } = await run(`why ${process.pid}`);
    expect(code).toBe(1);
    expect(stdout).toContain(`unix:uid:${UID}`);
    expect(stdout).toContain('none of the 0 entries of this agent matches it');
    expect(stdout).toContain("Create one whose --parent-id is the agent's SPIFFE ID");
  });

  test('a missing agent is named with what to do', async () => {
    const { code, stderr } = await countersign(['fetch', 'x509', '--socket', './none.sock'], { cwd: folder });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^unavailable: cannot reach the Workload API .*is the agent running/);
    expect((await run('why 0')).stderr).toContain('"0" is no process ID');
    expect((await run('why')).stderr).toContain('see countersign why --help');
    const gone = await run('why 4194303');
    expect(gone.code).toBe(1);
    expect(gone.stderr).not.toMatch(/^ +at /m);
  });
});

describe('with an entry', () => {
  let id: string;
  beforeEach(async () => {
    id = await register('/web');
    // The entry is pushed within milliseconds.
    for (let attempt = 0; attempt < 50 && (await run('fetch x509')).code !== 0; attempt += 1);
  });
  afterEach(() => forget(id));

  test('healthcheck of the agent, by both sockets', async () => {
    expect(await output('agent healthcheck')).toBe('serving\n');
    expect(await output(`healthcheck --socket ${agent.socket}`)).toBe('serving\n');
    expect(await output(`agent healthcheck --config ${agent.configFile}`)).toBe('serving\n');
    const waited = await run('healthcheck --socket ./none.sock --wait 200ms');
    expect(waited).toMatchObject({ code: 1, stderr: expect.stringContaining('not serving: ') });
  });

  test('fetch x509 as a table, JSON and files', async () => {
    expect(await output('fetch x509')).toMatch(/^spiffeId +spiffe:\/\/example.org\/web\nvalidFrom /);
    // The cast is sound: --output json prints a list of objects.
    const [row] = JSON.parse(await output('fetch x509 --output json')) as { serialNumber: string; trusts: string[] }[];
    expect(row).toMatchObject({ spiffeId: 'spiffe://example.org/web', trusts: ['example.org'] });
    expect(await output('fetch x509 --write svid')).toContain('spiffe://example.org/web: wrote ');
    const leaf = new X509Certificate(readFileSync(join(folder, 'svid/svid.pem')));
    const root = new X509Certificate(readFileSync(join(folder, 'svid/bundle.pem')));
    expect(leaf.serialNumber.toLowerCase()).toBe(row?.serialNumber);
    expect(leaf.checkIssued(root)).toBe(true);
    const mode = (name: string): number => statSync(join(folder, 'svid', name)).mode & 0o777;
    expect([mode(''), mode('key.pem'), mode('svid.pem')]).toEqual([0o700, 0o600, 0o644]);
  });

  test('fetch jwt and validate, through a pipe and a file', async () => {
    const token = await output('fetch jwt --audience api');
    expect(await output('validate --audience api', token)).toMatch(/valid +true\nspiffeId +spiffe:\/\/example.org\/web/);
    writeFileSync(join(folder, 'token'), token);
    expect(await output('validate --audience api --token-file token')).toContain('true');
    expect(await output('fetch jwt --audience api --spiffe-id spiffe://example.org/web --output json')).toContain('"audience"');
    const wrong = await run('validate --audience other', token);
    expect(wrong).toMatchObject({ code: 1, stdout: '' });
    expect(wrong.stderr).toMatch(/^invalid_argument: /);
    expect(wrong.stderr).not.toContain(token.trim());
    expect((await run('fetch jwt')).stderr).toContain('--audience TEXT is missing');
    expect((await run('fetch jwt --audience a --spiffe-id spiffe://example.org/other')).stderr).toMatch(/^permission_denied: /);
  });

  test('fetch wit and bundles of every kind', async () => {
    expect(await output('fetch wit --output json')).toContain('spiffe://example.org/web');
    expect(await output('fetch bundles')).toMatch(/^# example.org\n-----BEGIN CERTIFICATE-----/);
    expect(await output('fetch bundles --kind jwt')).toContain('"use":"jwt-svid"');
    expect(await output('fetch bundles --kind wit')).toContain('wit-svid');
    expect((await run('fetch bundles --kind ssh')).stderr).toContain('use x509, jwt or wit');
  });

  test('fetch --watch prints each change until it is interrupted', async () => {
    const child = spawn(process.execPath, [COMMAND, 'fetch', 'x509', '--watch', '--output', 'json'], {
      env: { ...process.env, ...environment() },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    let second = '';
    for await (const chunk of child.stdout.setEncoding('utf8')) {
      const before = text;
      text += String(chunk);
      if (before === '') second = await register('/second');
      if (text.includes('/second') && !before.includes('/second')) child.kill('SIGINT');
    }
    await forget(second);
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    expect(child.exitCode).toBe(0);
    expect(text).toContain('spiffe://example.org/web');
  });

  test('why names what matches and what nearly matches, with what is missing', async () => {
    const near = await register('/near', [`uid:${UID}`, 'gid:65432']);
    try {
      const { code, stdout } = await run(`why ${process.pid}`);
      expect(code).toBe(0);
      expect(stdout).toMatch(/It gets these identities:\n +spiffe:\/\/example.org\/web {2}\(entry /);
      expect(stdout).toMatch(/spiffe:\/\/example.org\/near {2}\(entry \S+\)\n +lacks unix:gid:65432/);
      const json = await output(`why ${process.pid} --output json`);
      expect(JSON.parse(json)).toEqual(
        expect.arrayContaining([expect.objectContaining({ what: 'near miss', missing: ['unix:gid:65432'] })]),
      );
    } finally {
      await forget(near);
    }
  });
});

describe('run -- CMD', () => {
  let id: string;
  beforeAll(async () => {
    id = await register('/runner');
  });
  afterAll(() => forget(id));
  const program = (script: string, ...options: readonly string[]): Promise<Finished> =>
    countersign(['run', ...options, '--', 'sh', '-c', script], { cwd: folder, environment: environment() });

  test('gives the program its files and passes its output and exit code on', async () => {
    const script =
      'stat -c %a "$COUNTERSIGN_KEY_FILE" "$(dirname "$COUNTERSIGN_KEY_FILE")"; echo "$SPIFFE_ENDPOINT_SOCKET"; echo "$COUNTERSIGN_SVID_FILE"; openssl x509 -in "$COUNTERSIGN_SVID_FILE" -noout -ext subjectAltName; exit 7';
    const { code, stdout, stderr } = await program(script);
    expect({ code, stderr }).toEqual({ code: 7, stderr: '' });
    const [keyMode, folderMode, socket, svidFile = ''] = stdout.split('\n');
    expect([keyMode, folderMode, socket]).toEqual(['600', '700', `unix://${agent.socket}`]);
    expect(stdout).toContain('URI:spiffe://example.org/runner');
    // The private folder is gone with the program.
    expect(existsSync(svidFile)).toBe(false);
  });

  test('ends as the program does when a signal ends it, and says when it cannot be started', async () => {
    expect((await program('kill -TERM $$')).code).toBe(143);
    const missing = await countersign(['run', '--', '/no/such/program'], { environment: environment() });
    expect(missing).toMatchObject({ code: 127, stderr: expect.stringMatching(/^countersign run: cannot run the program .*\n$/) });
    for (const file of [folder, join(process.execPath, 'x'), import.meta.filename]) {
      const refused = await countersign(['run', '--', file], { environment: environment() });
      expect(refused).toMatchObject({
        code: 126,
        stderr: expect.stringMatching(/^countersign run: cannot run the program .*\n$/),
      });
    }
    expect((await run('run')).stderr).toContain('a program to run is missing; write it after --');
    expect((await program('true', '--signal', 'SIGNOPE')).stderr).toContain('is no signal');
  });

  test('passes an interrupt on to the program', async () => {
    const script = 'trap "echo stopped; exit 3" TERM; echo ready; while :; do sleep 0.05; done';
    const child = spawn(process.execPath, [COMMAND, 'run', '--', 'sh', '-c', script], {
      env: { ...process.env, ...environment() },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    for await (const chunk of child.stdout.setEncoding('utf8')) {
      if (text === '') child.kill('SIGTERM');
      text += String(chunk);
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    expect({ text, code: child.exitCode }).toEqual({ text: 'ready\nstopped\n', code: 3 });
  });

  test('rotates the files in place and signals the program', async () => {
    await forget(id);
    // Half of 8 s is when the next one comes.
    id = await register('/runner', [`uid:${UID}`], 8);
    const dir = join(folder, 'rotated');
    const serial = 'openssl x509 -in "$COUNTERSIGN_SVID_FILE" -noout -serial';
    const script = `trap '${serial}; stat -c %a "$COUNTERSIGN_KEY_FILE"; exit 0' HUP; ${serial}; while :; do sleep 0.05; done`;
    const { code, stdout } = await program(script, '--signal', 'HUP', '--dir', dir);
    expect(code).toBe(0);
    const [first, second, mode] = stdout.trim().split('\n');
    expect(first).toMatch(/^serial=/);
    expect(second).toMatch(/^serial=/);
    expect(second).not.toBe(first);
    expect(mode).toBe('600');
    // A folder that was given stays.
    expect(existsSync(join(dir, 'svid.pem'))).toBe(true);
  });

  test('does not signal when only an SVID changes that is in no file', async () => {
    const before = id;
    // In this order, so that there is an identity at every moment.
    id = await register('/short', [`uid:${UID}`], 8, 'a-short');
    await forget(before);
    using api = new WorkloadApi({ address: `unix://${agent.socket}` });
    // Else the change from the entry before would be a reason to signal.
    for await (const { svids } of api.watchX509Context()) if (svids.every((svid) => svid.id.path === '/short')) break;
    const serial = 'openssl x509 -in "$COUNTERSIGN_SVID_FILE" -noout -serial';
    const script = `trap '${serial}; exit 0' HUP; ${serial}; while :; do sleep 0.05; done`;
    const child = spawn(process.execPath, [COMMAND, 'run', '--signal', 'HUP', '--', 'sh', '-c', script], {
      env: { ...process.env, ...environment() },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const others: string[] = [];
    let text = '';
    for await (const chunk of child.stdout.setEncoding('utf8')) {
      text += String(chunk);
      // A second identity comes; the first one stays the default (by its ID when both are of one second), and only its rotation
      // is a reason to signal.
      if (others.length === 0) others.push(await register('/second', [`uid:${UID}`], 0, 'b-second'));
    }
    await forget(...others);
    const [first, second] = text.trim().split('\n');
    expect(second).toMatch(/^serial=/);
    expect(second).not.toBe(first);
  });
});
