// Lays out the files of the container image in a folder: `node scripts/image.ts FOLDER`, after `npm run build`. The Dockerfile
// copies that folder, and so does the test that makes an image without a container engine: there is one list of what is in it.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const APPLICATION = 'opt/countersign';
/** So that `kubectl exec POD -- countersign …` works: the first line names Node in full, for there is no `env` here. */
const LAUNCHER = `#!/usr/bin/node\nimport '/${APPLICATION}/dist/countersign.js';\n`;
// The resolver of glibc loads these by name when it first looks up a host.
const NAME_SERVICE_LIBRARIES = ['libnss_dns.so.2', 'libnss_files.so.2', 'libresolv.so.2'];
/** User and group of every process of ours that needs no root: the number that distroless images call `nonroot`. */
const NON_ROOT = 65_532;

/**
 * Writes everything that the image holds below a folder: Node with the shared libraries it loads, the built command, and the one
 * native library. No shell, no package manager.
 *
 * @param folder Absolute path; made when it does not exist
 * @throws Error when `dist/` was not built
 */
export function createImageRoot(folder: string): void {
  createBaseRoot(folder);
  copyApplication(join(folder, APPLICATION));
  writeFileSync(join(folder, 'usr/bin/countersign'), LAUNCHER);
  chmodSync(join(folder, 'usr/bin/countersign'), 0o755);
}

/** Writes what any program on Node needs below a folder: everything but Countersign itself. */
export function createBaseRoot(folder: string): void {
  copyNode(folder);
  writeAccounts(join(folder, 'etc'));
  mkdirSync(join(folder, 'tmp'), { recursive: true });
  chmodSync(join(folder, 'tmp'), 0o1777);
}

function copyNode(folder: string): void {
  const node = realpathSync(join(root, 'node_modules/node/bin/node'));
  copy(node, join(folder, 'usr/bin/node'));
  chmodSync(join(folder, 'usr/bin/node'), 0o755);
  const libraries = sharedLibraries(node);
  for (const library of libraries) copy(library, join(folder, library));
  const libc = libraries.find((library) => library.includes('/libc.so'));
  if (libc === undefined) throw new Error(`ldd names no libc for ${node}`);
  for (const name of NAME_SERVICE_LIBRARIES) copy(join(dirname(libc), name), join(folder, dirname(libc), name));
}

/** The files of the shared libraries that a program loads. */
export function sharedLibraries(program: string): readonly string[] {
  const { stdout, status } = spawnSync('ldd', [program], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ldd ${program} failed; it is part of libc-bin`);
  return [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path]) => path ?? '');
}

function copyApplication(folder: string): void {
  if (!existsSync(join(root, 'dist/countersign.js'))) throw new Error('dist/ is not there: run `npm run build` first');
  const types = join(root, 'dist/types');
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true, filter: (path) => !path.startsWith(types) });
  copyFileSync(join(root, 'package.json'), join(folder, 'package.json'));
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  for (const name of ['koffi', `@koromix/koffi-linux-${process.arch}`]) {
    // A package may be a link to where it is kept.
    cpSync(realpathSync(join(root, 'node_modules', name)), join(folder, 'node_modules', name), { recursive: true });
  }
}

function writeAccounts(folder: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'passwd'), `root:x:0:0::/:\ncountersign:x:${NON_ROOT}:${NON_ROOT}::/:\n`);
  writeFileSync(join(folder, 'group'), `root:x:0:\ncountersign:x:${NON_ROOT}:\n`);
  writeFileSync(join(folder, 'nsswitch.conf'), 'hosts: files dns\n');
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
}

if (import.meta.main) {
  const [folder] = process.argv.slice(2);
  if (folder === undefined) throw new Error('usage: node scripts/image.ts FOLDER');
  createImageRoot(folder);
}
