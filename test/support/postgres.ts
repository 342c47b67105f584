import { execFileSync, spawnSync } from 'node:child_process';
import type { ExecFileSyncOptionsWithStringEncoding } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.ts';

const INSTALLATIONS = '/usr/lib/postgresql';
const ROLE = 'postgres';

/** A throw-away PostgreSQL cluster. */
export interface PostgresCluster extends AsyncDisposable {
  /** The URL of a new, empty database. */
  createDatabase(): string;
  /** Stops the server at once, as a crash would. */
  crash(): void;
  /** Starts it again. */
  start(): void;
  /** Runs SQL as the superuser; returns what `psql` prints. */
  psql(sql: string, database?: string): string;
}

let missing: string | undefined | null = null;

/** Why PostgreSQL cannot be tested here; undefined when it can. Installs it once when the process may. */
export function postgresMissing(): string | undefined {
  if (missing !== null) return missing;
  if (binaries() === undefined && process.getuid?.() === 0) installPostgres();
  missing = binaries() === undefined ? `PostgreSQL is not installed below ${INSTALLATIONS}` : undefined;
  return missing;
}

/** Starts a cluster of its own: data in a temporary folder, listening on loopback and a unix socket in that folder. `durable` writes through to the disk. */
export async function startPostgres({ durable = false }: { readonly durable?: boolean } = {}): Promise<PostgresCluster> {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-pg-'));
  const asOwner = ownerOf(folder);
  const bin = binaries() ?? '';
  const data = join(folder, 'data');
  const port = await freePort();
  asOwner(join(bin, 'initdb'), ['-D', data, '-U', ROLE, '-A', 'trust', '--no-sync', '-E', 'UTF8', '--locale=C']);
  const options = `-p ${port} -k ${folder} -c listen_addresses=127.0.0.1 -c max_connections=60 -c shared_buffers=32MB ${durable ? '' : '-c fsync=off'}`;
  const control = (...args: string[]): string =>
    asOwner(join(bin, 'pg_ctl'), ['-D', data, '-s', '-w', '-l', join(folder, 'log'), ...args]);
  const psql = (sql: string, database = 'postgres'): string =>
    asOwner(join(bin, 'psql'), [
      '-h',
      folder,
      '-p',
      `${port}`,
      '-U',
      ROLE,
      '-XAtq',
      '-v',
      'ON_ERROR_STOP=1',
      '-c',
      sql,
      database,
    ]);
  let databases = 0;
  control('-o', options, 'start');
  return {
    createDatabase() {
      databases += 1;
      psql(`CREATE DATABASE test_${databases}`);
      return `postgres://${ROLE}@127.0.0.1:${port}/test_${databases}`;
    },
    crash: () => void control('-m', 'immediate', 'stop'),
    start: () => void control('-o', options, 'start'),
    psql,
    async [Symbol.asyncDispose]() {
      if (existsSync(join(data, 'postmaster.pid'))) control('-m', 'immediate', 'stop');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Runs programs as a user that a PostgreSQL server accepts: it refuses to run as root. */
function ownerOf(folder: string): (command: string, args: readonly string[]) => string {
  const options: ExecFileSyncOptionsWithStringEncoding = { encoding: 'utf8', cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] };
  if (process.getuid?.() !== 0) return (command, args) => execFileSync(command, [...args], options);
  const [uid = 0, gid = 0] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, ROLE], { encoding: 'utf8' })));
  chownSync(folder, uid, gid);
  return (command, args) => execFileSync(command, [...args], { ...options, uid, gid });
}

function binaries(): string | undefined {
  if (!existsSync(INSTALLATIONS)) return undefined;
  const newest = readdirSync(INSTALLATIONS).sort((a, b) => Number(b) - Number(a));
  return newest.map((version) => join(INSTALLATIONS, version, 'bin')).find((folder) => existsSync(join(folder, 'initdb')));
}

function installPostgres(): void {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  // Whether it worked is seen by looking for the binaries.
  spawnSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' });
  spawnSync('apt-get', ['install', '-q', '-y', '--no-install-recommends', 'postgresql'], { env, stdio: 'ignore' });
}
