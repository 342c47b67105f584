import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, rename, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { IdentityError } from '../core/errors.ts';
import { LISTEN_BACKLOG } from './grpc/limits.ts';

/** A socket that is served. Closing it stops new connections only; those that exist belong to the server. */
export interface UnixListener extends AsyncDisposable {
  readonly path: string;
  close(): Promise<void>;
}

/** What fits into `sockaddr_un` before its final zero. */
const MAX_PATH_BYTES = 107;

/**
 * Lets a server of `node:net` (or `node:http`, which is one) listen on a unix socket at `path`. The file appears with its permission
 * bits in one step, in place of a stale one: a socket file on which nobody answers. Missing folders are made.
 *
 * @param mode permission bits of the socket file, such as 0o600; whoever may write may connect
 * @throws IdentityError `failed_precondition` when somebody answers on the path, or what is there is no socket;
 *   `invalid_argument` when the path is too long
 */
export async function listenOnPath(server: Server, path: string, mode: number): Promise<UnixListener> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new IdentityError('invalid_argument', `${path} is too long for a socket: the system allows ${MAX_PATH_BYTES} bytes`);
  }
  await mkdir(dirname(path), { recursive: true });
  await refuseIfServed(path);
  const inode = await bind(server, path, mode);
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= unbind(server, path, inode));
  return { path, close, [Symbol.asyncDispose]: close };
}

// Bound under a short name of its own, given its mode, then moved: nobody can connect with the wrong permissions, and the
// path is never without a socket. The name is short because the kernel's limit holds for it too.
async function bind(listener: Server, path: string, mode: number): Promise<bigint> {
  const temporary = join(dirname(path), `.${randomBytes(3).toString('hex')}`);
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ path: temporary, backlog: LISTEN_BACKLOG }, () => {
      listener.off('error', reject);
      resolve();
    });
  });
  // An accept that fails (no descriptor left) is over with that connection.
  listener.on('error', () => {});
  try {
    await chmod(temporary, mode);
    const { ino } = await lstat(temporary, { bigint: true });
    await refuseIfServed(path);
    await rename(temporary, path);
    return ino;
  } catch (error) {
    listener.close();
    throw error;
  }
}

// The file goes first: as long as the socket is bound, its inode cannot be that of anybody else's file.
async function unbind(listener: Server, path: string, inode: bigint): Promise<void> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined);
  if (found?.ino === inode) await unlink(path).catch(() => {});
  listener.close();
}

async function refuseIfServed(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw new IdentityError('failed_precondition', `${path} exists and is no socket; move it away`);
  if (await answers(path)) {
    throw new IdentityError('failed_precondition', `another process serves ${path}; stop it or choose another path`);
  }
}

// Only a refused connection proves that nobody listens; anything else counts as an answer.
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'));
  });
}
