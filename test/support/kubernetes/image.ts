// The product's image and one for workloads, made without a container engine.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';

import { buildSync } from 'esbuild';

import { createBaseRoot, sharedLibraries } from '../../../scripts/image.ts';
import { Checkout } from '../checkout.ts';
import { envoyBinary } from '../envoy.ts';
import { goProgram } from '../toolchain.ts';
import { createDockerArchive } from './docker-archive.ts';
import type { ImageArchive, ImageContent } from './docker-archive.ts';
import type { TarEntry } from './tar.ts';

const ROOT = join(import.meta.dirname, '../../..');

/** The name under which the manifests use the product's image. */
export const PRODUCT_IMAGE = `countersign:${packageVersion()}`;

/** An image with `/usr/bin/envoy`. */
export async function buildEnvoyImage(): Promise<ImageArchive> {
  using folder = new ScratchFolder();
  createBaseRoot(folder.path);
  const binary = await envoyBinary();
  for (const library of sharedLibraries(binary)) {
    mkdirSync(join(folder.path, dirname(library)), { recursive: true });
    copyFileSync(library, join(folder.path, library));
  }
  const program = { path: 'usr/bin/envoy', content: readFileSync(binary), mode: 0o755 };
  const files = [...filesBelow(folder.path), program];
  return createDockerArchive({ repository: 'countersign.test/envoy', files, entrypoint: ['/usr/bin/envoy'] });
}

/** A program of ours as one file. */
function bundled(source: string): Buffer {
  const options = { bundle: true, platform: 'node', format: 'esm', write: false } as const;
  const { outputFiles } = buildSync({ entryPoints: [source], ...options, banner: { js: REQUIRE } });
  return Buffer.from(outputFiles[0]?.contents ?? '');
}

// Libraries in the older format ask for Node's modules by this.
const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";

/** What the Dockerfile says of how the image starts. */
export type ImageSettings = Required<Pick<ImageContent, 'entrypoint' | 'environment' | 'user'>>;

/**
 * The product's image, from this checkout as it is: built, laid out and started as the Dockerfile says.
 *
 * @param alias The name beside the one that is made of its content; that of the manifests unless given
 */
export function buildProductImage(alias = PRODUCT_IMAGE): ImageArchive {
  using checkout = new Checkout();
  using folder = new ScratchFolder();
  run(['scripts/build.ts'], checkout.path);
  run(['scripts/image.ts', folder.path], checkout.path);
  const settings = imageSettings(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'));
  return createDockerArchive({ repository: 'countersign.test/countersign', files: filesBelow(folder.path), alias, ...settings });
}

/**
 * An image with Node, `/usr/bin/workload` (the Go program of `test/go/cmd/workload`: a client and server with go-spiffe) and
 * `/usr/lib/mesh-service.js` (a service with the middleware of the client library).
 */
export async function buildWorkloadImage(): Promise<ImageArchive> {
  using folder = new ScratchFolder();
  const program = await goProgram('workload');
  createBaseRoot(folder.path);
  const files = [
    ...filesBelow(folder.path),
    { path: 'usr/bin/workload', content: readFileSync(program), mode: 0o755 },
    { path: 'usr/lib/mesh-service.js', content: bundled(join(import.meta.dirname, 'mesh-service.ts')), mode: 0o644 },
  ];
  return createDockerArchive({ repository: 'countersign.test/workload', files, entrypoint: ['/usr/bin/node'] });
}

/** How the last stage of a Dockerfile starts what it holds. @throws Error on an instruction that this does not know */
export function imageSettings(dockerfile: string): ImageSettings {
  const stage = dockerfile.slice(dockerfile.lastIndexOf('\nFROM ')).trim().split('\n').slice(1);
  const settings = { entrypoint: new Array<string>(), environment: {}, user: '' };
  for (const line of stage) {
    const [, instruction = '', rest = ''] = /^(\w+) (.*)$/.exec(line) ?? [];
    // The cast is sound: ENTRYPOINT in this form is a JSON array of strings.
    if (instruction === 'ENTRYPOINT') settings.entrypoint = JSON.parse(rest) as string[];
    else if (instruction === 'ENV') settings.environment = Object.fromEntries(rest.split(' ').map((pair) => pair.split('=')));
    else if (instruction === 'USER') settings.user = rest;
    else if (line !== 'COPY --from=build /image/ /') throw new Error(`the image of the tests has no equivalent of "${line}"`);
  }
  return settings;
}

/** Everything below a folder, as entries of a layer, in a fixed order. */
export function filesBelow(folder: string): TarEntry[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const paths = entries.map((entry) => ({ entry, path: relative(folder, join(entry.parentPath, entry.name)) }));
  paths.sort((a, b) => (a.path < b.path ? -1 : 1));
  return paths.map(({ entry, path }) => {
    const file = join(folder, path);
    if (entry.isSymbolicLink()) return { path, target: readlinkSync(file), mode: 0o777 };
    const mode = statSync(file).mode & 0o7777;
    return entry.isDirectory() ? { path, mode } : { path, mode, content: readFileSync(file) };
  });
}

class ScratchFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'countersign-image-'));

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

function run(args: readonly string[], cwd: string): void {
  const { status, stderr } = spawnSync(process.execPath, args, { cwd, encoding: 'utf8', env: withCommands(cwd) });
  if (status !== 0) throw new Error(`node ${args.join(' ')} ended with ${status}: ${stderr}`);
}

/** The build calls commands of its dependencies by name. */
function withCommands(folder: string): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${join(folder, 'node_modules/.bin')}:${process.env['PATH']}` };
}

function packageVersion(): string {
  // The cast is sound: npm demands a version there.
  return (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { readonly version: string }).version;
}
