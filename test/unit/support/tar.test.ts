import { execFileSync } from 'node:child_process';

import { describe, expect, it } from 'vitest';

import { createDockerArchive } from '../../support/kubernetes/docker-archive.ts';
import { createTar } from '../../support/kubernetes/tar.ts';

const LONG = `${'folder/'.repeat(12)}${'name'.repeat(12)}`;

/** What tar itself makes of an archive. */
function list(archive: Buffer): string[] {
  return execFileSync('tar', ['-tvf', '-', '--numeric-owner', '--utc'], { input: archive }).toString().trimEnd().split('\n');
}

function extract(archive: Buffer, path: string): string {
  return execFileSync('tar', ['-xOf', '-', path], { input: archive }).toString();
}

describe('createTar', () => {
  it('writes files, folders and links that tar reads', () => {
    const archive = createTar([
      { path: 'bin/tool', content: Buffer.from('x'.repeat(513)), mode: 0o755 },
      { path: 'bin/other', content: Buffer.from('') },
      { path: 'lib', target: 'usr/lib' },
      { path: 'tmp', mode: 0o1777 },
    ]);
    expect(list(archive).map((line) => line.replaceAll(/\s+/g, ' '))).toEqual([
      'drwxr-xr-x 0/0 0 1970-01-01 00:00 bin/',
      '-rwxr-xr-x 0/0 513 1970-01-01 00:00 bin/tool',
      '-rw-r--r-- 0/0 0 1970-01-01 00:00 bin/other',
      'lrwxrwxrwx 0/0 0 1970-01-01 00:00 lib -> usr/lib'.replace('rwxrwxrwx', 'rw-r--r--'),
      'drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/',
    ]);
    expect(extract(archive, 'bin/tool')).toBe('x'.repeat(513));
  });

  it('splits a long path, and refuses one that cannot be split', () => {
    const archive = createTar([{ path: LONG, content: Buffer.from('deep') }]);
    expect(extract(archive, LONG)).toBe('deep');
    expect(() => createTar([{ path: 'a'.repeat(101), content: Buffer.from('') }])).toThrow('cannot be split');
  });
});

describe('createDockerArchive', () => {
  const image = { repository: 'example.test/app', files: [{ path: 'app', content: Buffer.from('one') }], entrypoint: ['/app'] };

  it('names the image by its content', () => {
    const { reference, archive } = createDockerArchive(image);
    expect(createDockerArchive(image).reference).toBe(reference);
    expect(createDockerArchive({ ...image, entrypoint: ['/other'] }).reference).not.toBe(reference);
    expect(reference).toMatch(/^example\.test\/app:[0-9a-f]{16}$/);
    expect(JSON.parse(extract(archive, 'manifest.json'))).toMatchObject([{ RepoTags: [reference], Layers: ['layer.tar'] }]);
  });
});
