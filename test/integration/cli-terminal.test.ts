// What needs no CA: help, completion, faults of a configuration, words that are no command.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { COMMANDS } from '../../cli/commands.ts';
import { countersign, runToEnd } from '../support/command.ts';
import { isInstalled } from '../support/toolchain.ts';

const folder = mkdtempSync(join(tmpdir(), 'cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('help', () => {
  test('lists every command', async () => {
    const { code, stdout } = await countersign(['--help']);
    expect(code).toBe(0);
    for (const { path, summary } of COMMANDS) {
      expect(stdout).toContain(`  ${path.join(' ')}`);
      expect(stdout).toContain(summary);
    }
  });

  test.each(COMMANDS.map(({ path }) => path.join(' ')))(
    '%s --help shows usage, options and examples that parse',
    async (name) => {
      const { code, stdout, stderr } = await countersign([...name.split(' '), '--help']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toContain(`Usage: countersign ${name}`);
      expect(stdout).toContain('Examples:');
      const options = COMMANDS.find(({ path }) => path.join(' ') === name)?.options ?? {};
      for (const option of Object.keys(options)) expect(stdout).toContain(`--${option}`);
    },
  );

  test('an unknown command exits with 2 and lists what there is; a group lists its own', async () => {
    const unknown = await countersign(['frobnicate']);
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain('"frobnicate" is no command');
    expect(await countersign(['entry', 'frobnicate'])).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('"entry frobnicate" is no command'),
    });
    const near = await countersign(['entyr', 'show']);
    expect(near).toMatchObject({ code: 2, stderr: expect.stringContaining('did you mean "countersign entry show"?') });
    expect(near.stderr.split('\n')).toHaveLength(3);
    const group = await countersign(['entry', '--help']);
    expect(group.code).toBe(0);
    expect(group.stdout).toContain('entry create');
    expect(group.stdout).not.toContain('agent list');
  });
});

test('--version prints the version of the package', async () => {
  // The cast is sound: package.json has this field.
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as { version: string };
  expect(await countersign(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
});

test.each([
  ['agent list --config /nope/ca.yaml', /^invalid_argument: --config: cannot read the configuration file .*\n$/],
  ['token foo bar', /^invalid_argument: "foo" is not understood; .*\n$/],
  ['token --ttl 99999d --socket /nope', /^invalid_argument: --ttl: "99999d" is no lifetime; .*\n$/],
  ['fetch x509 --socket tcp:1.2.3.4', /^invalid_argument: --socket: "tcp:1.2.3.4" is no address .*\n$/],
])('%s fails with one line that names what is wrong', async (line, message) => {
  const { code, stdout, stderr } = await countersign(line.split(' '));
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(message);
});

describe('--check-config', () => {
  test('reports every fault of ca.yaml at once, with its path', async () => {
    const file = join(folder, 'ca.yaml');
    writeFileSync(
      file,
      'trustDomain: EXAMPLE.org\ndataDir: ./d\nlisten: { grpc: nowhere, admin: "127.0.0.1:1", extra: 1 }\nttl: { ca: soon }\n',
    );
    const { code, stderr, stdout } = await countersign(['ca', 'run', '--config', file, '--check-config']);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    for (const path of ['trustDomain', 'listen.grpc', 'listen.admin', 'listen.extra', 'ttl.ca'])
      expect(stderr).toContain(`  ${path}: `);
    expect(stderr).toContain('unknown key; known here: grpc, admin, http, public');
    expect(stderr).toContain('has 5 fault(s)');
  });

  test('reports every fault of agent.yaml at once, with its path', async () => {
    const file = join(folder, 'agent.yaml');
    writeFileSync(
      file,
      'trustDomain: example.org\ndataDir: ./d\nserver: x\nbootstrap: {}\nattestor: { joinToken: x }\nlisten: {}\nworkloadAttestors: {}\n',
    );
    const { code, stderr } = await countersign(['agent', 'run', '--config', file, '--check-config']);
    expect(code).toBe(1);
    for (const path of ['server', 'bootstrap', 'attestor', 'listen.workload']) expect(stderr).toContain(`  ${path}: `);
  });

  test('says that a sound file is sound, and what it cannot read', async () => {
    const file = join(folder, 'good.yaml');
    writeFileSync(file, 'trustDomain: example.org\ndataDir: ./d\nlisten: { grpc: "127.0.0.1:0", admin: "unix:./a.sock" }\n');
    expect((await countersign(['ca', 'run', '--config', file, '--check-config'])).code).toBe(0);
    const missing = await countersign(['ca', 'run', '--config', 'none.yaml', '--check-config'], { cwd: folder });
    expect(missing.code).toBe(1);
    expect(missing.stderr).toContain('name it with --config FILE');
    writeFileSync(file, 'a: [');
    expect((await countersign(['ca', 'run', '--config', file, '--check-config'])).stderr).toContain('is no valid YAML');
    expect((await countersign(['ca', 'run'])).stderr).toContain('--config FILE is missing');
  });
});

describe('completion', () => {
  const script = async (shell: string): Promise<string> => {
    const { code, stdout } = await countersign(['completion', shell]);
    expect(code).toBe(0);
    const file = join(folder, `completion.${shell}`);
    writeFileSync(file, stdout);
    return file;
  };

  test('an unknown shell is refused with the known ones', async () => {
    expect((await countersign(['completion', 'tcsh'])).stderr).toContain('use one of bash, zsh, fish');
  });

  test.skipIf(!isInstalled('bash'))('bash completes commands, their second words and options (needs bash)', async () => {
    const file = await script('bash');
    const complete = async (...words: readonly string[]): Promise<readonly string[]> => {
      const program = `source ${file}; COMP_WORDS=(countersign ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}; _countersign; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const { stdout, stderr } = await runToEnd('bash', ['--norc', '-c', program]);
      expect(stderr).toBe('');
      return stdout.trim().split('\n');
    };
    expect(await complete('ent')).toEqual(['entry']);
    expect((await complete('entry', '')).toSorted()).toEqual(['count', 'create', 'delete', 'show', 'update']);
    expect(await complete('entry', 'create', '--spiffe')).toEqual(['--spiffe-id']);
    expect(await complete('entry', 'create', '--hint', 'x', '--dow')).toEqual(['--downstream']);
    expect(await complete('ru')).toEqual(['run']);
  });

  test.skipIf(!isInstalled('zsh'))('zsh loads it (needs zsh)', async () => {
    const file = await script('zsh');
    const { code, stderr } = await runToEnd('zsh', [
      '-f',
      '-c',
      `autoload -U compinit && compinit -D; source ${file}; whence _countersign`,
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  test.skipIf(!isInstalled('fish'))('fish completes commands and options (needs fish)', async () => {
    const file = await script('fish');
    const { code, stdout } = await runToEnd('fish', ['-N', '-c', `source ${file}; complete -C 'countersign entry cre'`]);
    expect(code).toBe(0);
    expect(stdout).toContain('create');
  });
});
