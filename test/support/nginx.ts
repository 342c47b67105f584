// Real nginx, as Debian builds it.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder, isInstalled } from './toolchain.ts';

const DEADLINE_MS = 30_000;
const SYSTEM = ['/usr/sbin/nginx', '/usr/local/sbin/nginx', '/usr/bin/nginx'];

/** What has to be there for {@link nginxBinary}: nginx itself, or the package tools of a Debian. */
export const canHaveNginx = SYSTEM.some((path) => existsSync(path)) || (isInstalled('apt-get') && isInstalled('dpkg-deb'));

/** The path of nginx: the machine's own, else the one of Debian's package, unpacked into the cache. */
export function nginxBinary(): string {
  const own = SYSTEM.find((path) => existsSync(path));
  if (own !== undefined) return own;
  const folder = join(cacheFolder(), 'nginx');
  const binary = join(folder, 'usr', 'sbin', 'nginx');
  if (!existsSync(binary)) unpack(folder);
  return binary;
}

function unpack(folder: string): void {
  const scratch = `${folder}.${process.pid}`;
  mkdirSync(scratch, { recursive: true });
  if (!run('apt-get', ['download', 'nginx'], scratch)) {
    // A fresh machine has no lists of packages yet.
    run('apt-get', ['update'], scratch);
    if (!run('apt-get', ['download', 'nginx'], scratch)) throw new Error('apt-get download nginx: failed');
  }
  const [archive = ''] = readdirSync(scratch).filter((name) => name.endsWith('.deb'));
  if (!run('dpkg-deb', ['-x', archive, 'root'], scratch)) throw new Error(`dpkg-deb -x ${archive}: failed`);
  // Another process may have been faster; its copy is as good.
  if (!existsSync(folder)) renameSync(join(scratch, 'root'), folder);
  rmSync(scratch, { recursive: true });
}

function run(command: string, args: readonly string[], cwd: string): boolean {
  return spawnSync(command, args, { cwd, stdio: 'ignore' }).status === 0;
}

/** A running nginx. */
export class Nginx implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(process: ChildProcess, folder: string) {
    this.#process = process;
    this.#folder = folder;
  }

  /** Starts nginx with a whole configuration and waits until it listens on the port. */
  static async start(configuration: string, port: number): Promise<Nginx> {
    const folder = await mkdtemp(join(tmpdir(), 'nginx-'));
    await writeFile(join(folder, 'nginx.conf'), ownPlaces(configuration, folder));
    const args = ['-p', folder, '-c', 'nginx.conf', '-e', 'error.log', '-g', 'daemon off; pid nginx.pid;'];
    const nginx = new Nginx(spawn(nginxBinary(), args, { stdio: 'ignore' }), folder);
    for (const startMs = performance.now(); performance.now() - startMs < DEADLINE_MS;) {
      if (nginx.#process.exitCode !== null) break;
      if (await answers(port)) return nginx;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const log = nginx.log;
    await nginx[Symbol.asyncDispose]();
    throw new Error(`nginx did not start:\n${log}`);
  }

  /** What it wrote to its error log. */
  get log(): string {
    const file = join(this.#folder, 'error.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill('SIGTERM');
      await once(this.#process, 'exit');
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** One worker, and everything that nginx writes in the folder; as the user of the test, who alone may enter there. */
function ownPlaces(configuration: string, folder: string): string {
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const places = kinds.map((kind) => `${kind}_temp_path ${join(folder, kind)};`).join(' ');
  return configuration
    .replace(/^user .*$/m, process.getuid?.() === 0 ? 'user root;' : '')
    .replace(/^worker_processes .*$/m, 'worker_processes 1;')
    .replace(/^http \{$/m, `http {\n${places} access_log off;`);
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true));
    socket.once('error', () => resolve(false)).once('connect', () => socket.destroy());
  });
}
