import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { IdentityError } from '../core/errors.ts';

const TEMPORARY = /\.[0-9a-f-]{36}\.tmp$/;
/** Every permission bit of the group and of others. */
const OTHERS = 0o077;

/** Makes a folder if need be, and removes what a crash left half written in it. @throws IdentityError `unavailable` */
export async function openDir(path: string): Promise<void> {
  try {
    await makePrivateDir(path);
    const left = (await readdir(path)).filter((name) => TEMPORARY.test(name));
    await Promise.all(left.map((name) => rm(join(path, name), { force: true })));
  } catch (cause) {
    throw unavailable(`cannot use the folder ${path}`, cause);
  }
}

/**
 * Makes a folder that only its owner may enter. Missing folders above it get the usual mode: others may have to pass through
 * them on their way to a public socket.
 */
export async function makePrivateDir(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
    if (!isErrorOf(error, 'EEXIST')) throw error;
  });
}

/** As {@link openDir}, for a folder that only its owner may enter. @throws IdentityError also `failed_precondition` when others may */
export async function openPrivateDir(path: string): Promise<void> {
  await openDir(path);
  refuseShared(path, 'folder', '700', (await stat(path)).mode);
}

/**
 * Replaces a file so that a crash at any moment leaves the old content or the new, and only its owner may read it.
 *
 * @throws IdentityError `unavailable` when it cannot be written; the file is then as before
 */
export async function writePrivateFile(path: string, content: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await writeDurably(temporary, content);
    await rename(temporary, path);
    await syncDir(dirname(path));
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw unavailable(`cannot write ${path}`, cause);
  }
}

/**
 * Reads a file that only its owner may read; undefined when it is not there.
 *
 * @throws IdentityError `failed_precondition` when the group or others may read it, or it cannot be read
 */
export async function readPrivateFile(path: string): Promise<string | undefined> {
  try {
    await using file = await open(path, 'r');
    refuseShared(path, 'file', '600', (await file.stat()).mode);
    return await file.readFile('utf8');
  } catch (cause) {
    if (cause instanceof IdentityError) throw cause;
    if (isErrorOf(cause, 'ENOENT')) return undefined;
    throw new IdentityError('failed_precondition', `cannot read ${path} (${reasonOf(cause)})`, { cause });
  }
}

/** Removes a file durably; one that is not there is no error. @throws IdentityError `unavailable` */
export async function removePrivateFile(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
    await syncDir(dirname(path));
  } catch (cause) {
    throw unavailable(`cannot remove ${path}`, cause);
  }
}

async function writeDurably(path: string, content: string): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  await file.writeFile(content);
  await file.sync();
}

async function syncDir(path: string): Promise<void> {
  await using dir = await open(path, 'r');
  await dir.sync();
}

function refuseShared(path: string, what: string, wanted: string, mode: number): void {
  if ((mode & OTHERS) === 0) return;
  const found = (mode & 0o777).toString(8).padStart(4, '0');
  throw new IdentityError(
    'failed_precondition',
    `the ${what} ${path} has mode ${found}, so that others may use what it holds; if nobody has, run "chmod ${wanted} ${path}", ` +
      'else remove it so that new keys are made',
  );
}

function unavailable(what: string, cause: unknown): IdentityError {
  return new IdentityError('unavailable', `${what} (${reasonOf(cause)}); see to the disk's space and permissions`, { cause });
}

function isErrorOf(error: unknown, code: 'ENOENT' | 'EEXIST'): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown reason';
}
