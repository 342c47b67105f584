// A container image as one file, in the form of `docker save`: every container runtime can load it, none is needed to make it.
import { createHash } from 'node:crypto';

import { createTar } from './tar.ts';
import type { TarEntry } from './tar.ts';

/** What an image holds and how it starts. */
export interface ImageContent {
  /** Without a tag: that is made of the content. Never `latest`, which a kubelet would try to pull. */
  readonly repository: string;
  readonly files: readonly TarEntry[];
  readonly entrypoint: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly user?: string;
  readonly workingFolder?: string;
  /** A further name that manifests use, such as `countersign:0.1.0`. */
  readonly alias?: string;
}

/** An image, ready to be loaded. */
export interface ImageArchive {
  /** `repository:tag`. The same content has the same tag. */
  readonly reference: string;
  readonly archive: Buffer;
}

/** Makes an image of one layer. */
export function createDockerArchive(image: ImageContent): ImageArchive {
  const layer = createTar(image.files);
  const config = JSON.stringify({
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    created: '1970-01-01T00:00:00Z',
    config: {
      Entrypoint: image.entrypoint,
      Env: Object.entries({ PATH: '/usr/local/bin:/usr/bin:/bin', ...image.environment }).map(
        ([name, value]) => `${name}=${value}`,
      ),
      User: image.user ?? '',
      WorkingDir: image.workingFolder ?? '/',
    },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layer)}`] },
    history: [{ created: '1970-01-01T00:00:00Z' }],
  });
  const digest = sha256(Buffer.from(config));
  const reference = `${image.repository}:${digest.slice(0, 16)}`;
  const names = image.alias === undefined ? [reference] : [reference, image.alias];
  const manifest = JSON.stringify([{ Config: `${digest}.json`, RepoTags: names, Layers: ['layer.tar'] }]);
  const archive = createTar([
    { path: 'manifest.json', content: Buffer.from(manifest) },
    { path: `${digest}.json`, content: Buffer.from(config) },
    { path: 'layer.tar', content: layer },
  ]);
  return { reference, archive };
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}
