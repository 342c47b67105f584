// A copy of the files that are tracked or about to be, as a fresh clone has them, with the dependencies of this checkout in place.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

/** A folder with a fresh checkout; disposing of it removes it. */
export class Checkout implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'checkout-'));

  constructor() {
    const { stdout } = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    for (const file of stdout.split('\0').filter((name) => name !== '' && existsSync(join(ROOT, name)))) {
      mkdirSync(dirname(join(this.path, file)), { recursive: true });
      cpSync(join(ROOT, file), join(this.path, file));
    }
    this.#linkDependencies();
  }

  /** Links each package and marks them as installed, so that no script of the copy installs over the original. */
  #linkDependencies(): void {
    const modules = join(this.path, 'node_modules');
    mkdirSync(modules);
    for (const name of readdirSync(join(ROOT, 'node_modules'))) {
      if (name !== '.countersign-installed') symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
    }
    const lock = createHash('sha256').update(readFileSync(join(this.path, 'package-lock.json')));
    writeFileSync(join(modules, '.countersign-installed'), lock.digest('hex'));
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
