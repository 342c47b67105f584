// What the npm package holds: built, packed, unpacked elsewhere, and used.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Checkout } from '../support/checkout.ts';
import { runToEnd, type Finished } from '../support/command.ts';
import { DaemonProcess } from '../support/daemon-process.ts';

const ROOT = join(import.meta.dirname, '../..');
// The cast is sound: package.json has these fields, or has them not.
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly bin: { readonly countersign: string };
  readonly exports?: unknown;
  readonly dependencies: Readonly<Record<string, string>>;
};
const home = mkdtempSync(join(tmpdir(), 'pkg-'));
const installed = join(home, 'node_modules', 'countersign');
const bin = join(installed, manifest.bin.countersign);
let files: readonly string[] = [];

beforeAll(async () => {
  using checkout = new Checkout();
  const cwd = checkout.path;
  const environment = { PATH: `${join(ROOT, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}` };
  const built = await runToEnd(process.execPath, ['scripts/build.ts'], { cwd, environment });
  expect({ code: built.code, stderr: built.stderr, stdout: built.stdout }).toEqual({ code: 0, stderr: '', stdout: '' });
  const packed = await runToEnd('npm', ['pack', '--json', '--loglevel=error', '--pack-destination', home], { cwd });
  expect(packed.code).toBe(0);
  // The cast is sound: npm describes each tarball so; newer versions by the package's name.
  const described = JSON.parse(packed.stdout) as unknown;
  const [tarball] = Object.values(described as Record<string, { filename: string; files: { path: string }[] }>);
  files = (tarball?.files ?? []).map(({ path }) => path);
  mkdirSync(installed, { recursive: true });
  const unpacked = await runToEnd('tar', ['-xf', join(home, tarball?.filename ?? ''), '-C', installed, '--strip-components=1']);
  expect(unpacked.code).toBe(0);
  // Only what the package says that it needs.
  for (const name of Object.keys(manifest.dependencies)) link(name);
  link('@koromix');
}, 180_000);
afterAll(() => rmSync(home, { recursive: true, force: true }));

function link(name: string): void {
  const target = join(home, 'node_modules', name);
  mkdirSync(join(target, '..'), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules', name), target);
}

/** A Node on the PATH that is older than what the package needs. */
const OLDER_NODE = (process.env['PATH'] ?? '')
  .split(':')
  .map((folder) => join(folder, 'node'))
  .find((file) => Number(/^v(\d+)/.exec(spawnSync(file, ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1] ?? 24) < 24);

const run = (...words: readonly string[]): Promise<Finished> => runToEnd(process.execPath, [bin, ...words], { cwd: home });

describe('the package', () => {
  test('holds the built command and library, their types, licence and README, and no sources', () => {
    expect(files).toEqual(
      expect.arrayContaining(['LICENSE', 'README.md', 'package.json', 'dist/countersign.js', 'dist/client.js']),
    );
    expect(files).toContain('dist/types/client/index.d.ts');
    expect(
      files.filter(
        (file) =>
          /(^|\/)(test|proto|node_modules)\/|\.ts$/.test(file) && !file.endsWith('.d.ts') && !file.startsWith('dist/types/'),
      ),
    ).toEqual([]);
  });

  test('the command runs a CA and administers it', async () => {
    expect((await run('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const config = 'trustDomain: example.org\ndataDir: ./data\nlisten: { grpc: "127.0.0.1:0", admin: "unix:./run/a.sock" }\n';
    await using ca = new DaemonProcess({ kind: 'ca', folder: home, config, command: bin });
    expect(await run('ca', 'healthcheck', '--socket', 'run/a.sock', '--wait', '20s')).toMatchObject({
      code: 0,
      stdout: 'serving\n',
    });
    const minted = await run(
      'x509',
      'mint',
      '--socket',
      'run/a.sock',
      '--spiffe-id',
      'spiffe://example.org/x',
      '--write',
      'svid',
    );
    expect(minted).toMatchObject({ code: 0, stderr: '' });
    const token = await run('jwt', 'mint', '--socket', 'run/a.sock', '--spiffe-id', 'spiffe://example.org/x', '--audience', 'a');
    expect(token.stdout.split('.')).toHaveLength(3);
    expect(ca.exitCode).toBeUndefined();
  });

  test.skipIf(OLDER_NODE === undefined)('an older Node is told that it is too old (needs one on the PATH)', async () => {
    for (const words of [['ca', 'run', '--config', 'ca.yaml'], ['--version']]) {
      const { code, stdout, stderr } = await runToEnd(OLDER_NODE ?? '', [bin, ...words], { cwd: home });
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(/^countersign needs Node 24 or newer, this is v\d+\.\d+\.\d+ \(.*\)\n$/);
    }
  });

  test('the library loads', async () => {
    writeFileSync(
      join(home, 'use.mjs'),
      "const { X509Source, authorizeId } = await import('./node_modules/countersign/dist/client.js'); console.log(typeof X509Source.open, typeof authorizeId);",
    );
    expect(await runToEnd(process.execPath, ['use.mjs'], { cwd: home })).toMatchObject({
      code: 0,
      stdout: 'function function\n',
    });
  });

  test.skipIf(manifest.exports === undefined)(
    'the library loads by the name of the package (needs exports in package.json)',
    async () => {
      writeFileSync(join(home, 'name.mjs'), "import { X509Source } from 'countersign'; console.log(typeof X509Source.open);");
      expect(await runToEnd(process.execPath, ['name.mjs'], { cwd: home })).toMatchObject({ code: 0, stdout: 'function\n' });
    },
  );
});
