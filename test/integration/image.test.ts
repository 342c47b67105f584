// The container image that the Dockerfile describes, and the one that the cluster tests make without a container engine.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Checkout } from '../support/checkout.ts';
import { runToEnd } from '../support/command.ts';
import { buildProductImage, filesBelow, imageSettings, PRODUCT_IMAGE } from '../support/kubernetes/image.ts';

const ROOT = join(import.meta.dirname, '../..');
const BIN = join(ROOT, 'node_modules/.bin');

describe('the container image', () => {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-image-'));
  const laidOut = join(folder, 'laid-out');
  const unpacked = join(folder, 'unpacked');
  beforeAll(async () => {
    // The Dockerfile's own steps, in a fresh checkout.
    using checkout = new Checkout();
    const environment = { PATH: `${BIN}:${process.env['PATH']}` };
    for (const step of [['scripts/build.ts'], ['scripts/image.ts', laidOut]]) {
      expect(await runToEnd('node', step, { cwd: checkout.path, environment })).toMatchObject({ code: 0 });
    }
    execFileSync('mkdir', [unpacked]);
    const { archive } = buildProductImage();
    const layer = execFileSync('tar', ['-xOf', '-', 'layer.tar'], { input: archive, maxBuffer: 1 << 30 });
    execFileSync('tar', ['-xf', '-', '-C', unpacked], { input: layer, maxBuffer: 1 << 30 });
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('holds the same files, with the same bytes and permissions, however it is made', () => {
    expect(filesBelow(unpacked).map(({ path, mode }) => [path, mode])).toEqual(
      filesBelow(laidOut).map(({ path, mode }) => [path, mode]),
    );
    const differing = filesBelow(laidOut).filter(({ path, content }) => {
      return content !== undefined && !readFileSync(join(unpacked, path)).equals(content);
    });
    expect(differing.map(({ path }) => path)).toEqual([]);
  });

  it('starts as user 65532 and holds no shell', () => {
    const settings = imageSettings(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'));
    expect(settings).toMatchObject({
      user: '65532:65532',
      entrypoint: ['/usr/bin/node', '/opt/countersign/dist/countersign.js'],
    });
    expect(PRODUCT_IMAGE).toMatch(/^countersign:\d/);
    const programs = filesBelow(unpacked).filter(({ content, mode = 0 }) => content !== undefined && (mode & 0o111) !== 0);
    expect(programs.map(({ path }) => path).filter((path) => /(^|\/)s?bin\//.test(path))).toEqual([
      'usr/bin/countersign',
      'usr/bin/node',
    ]);
  });

  it.skipIf(process.getuid?.() !== 0).each([
    ['as it starts', ['/usr/bin/node', '/opt/countersign/dist/countersign.js']],
    ['by its name, as `kubectl exec` does', ['/usr/bin/countersign']],
  ])('runs with nothing but its own files, %s (needs root, for chroot)', async (_how, program) => {
    const command = [...program, '--version'];
    expect(await runToEnd('env', ['-i', '/usr/sbin/chroot', unpacked, ...command])).toMatchObject({ code: 0, stderr: '' });
  });
});
