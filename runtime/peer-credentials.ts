import { closeSync, openSync, readSync } from 'node:fs';
import { Socket } from 'node:net';
import { IdentityError } from '../core/errors.ts';
import { type Kernel, KernelError, openKernel, type SocketCredentials } from './kernel.ts';

/** Who connected, as the kernel recorded it at `connect()`. */
export type PeerCredentials = SocketCredentials;

/**
 * A process that cannot be confused with another one that got the same pid later: it holds the process's pidfd.
 *
 * The guard against PID reuse is an order of steps: hold the process, read `/proc/<pid>`, THEN ask {@link isAlive}. Only
 * an answer of `true` proves that what was read belongs to this process.
 *
 * @example
 * using peer = PeerProcess.ofSocket(socket);
 * const status = readFileSync(`/proc/${peer.pid}/status`);
 * if (!peer.isAlive()) refuse();
 */
export class PeerProcess implements Disposable {
  readonly pid: number;
  /** Effective user and group when it connected; undefined when it was named by pid, not by a socket. */
  readonly credentials: PeerCredentials | undefined;
  readonly #kernel: Kernel;
  #pidfd: number;

  private constructor(kernel: Kernel, pidfd: number, named: { pid: number; credentials: PeerCredentials | undefined }) {
    this.#kernel = kernel;
    this.#pidfd = pidfd;
    this.pid = named.pid;
    this.credentials = named.credentials;
  }

  /**
   * The process at the other end of a unix socket; call it in the `connection` callback. It is closed with the socket.
   *
   * @throws IdentityError `permission_denied` when the peer has gone or lives in a foreign pid namespace,
   *   `unavailable` when no descriptor is left
   */
  static ofSocket(socket: Socket, kernel: Kernel = openKernel()): PeerProcess {
    const fd = descriptorOf(socket);
    const credentials = kernel.peerCredentials(fd);
    refuseForeign(credentials);
    const pidfd = holdProcess(() => kernel.peerPidfd(fd) ?? kernel.openPidfd(credentials.pid));
    const peer = new PeerProcess(kernel, pidfd, { pid: credentials.pid, credentials });
    peer.#requireSamePid();
    socket.once('close', () => peer.close());
    return peer;
  }

  /**
   * The process that has a pid now, for callers that are trusted to name one (the private admin socket).
   *
   * @throws IdentityError `not_found` when there is none
   */
  static ofPid(pid: number, kernel: Kernel = openKernel()): PeerProcess {
    const pidfd = openByPid(pid, kernel);
    const peer = new PeerProcess(kernel, pidfd, { pid, credentials: undefined });
    peer.#requireSamePid();
    return peer;
  }

  /** Whether the process still runs; false for good once it has ended or was closed. A zombie has ended. */
  isAlive(): boolean {
    return this.#pidfd >= 0 && !this.#kernel.isReadable(this.#pidfd);
  }

  /** Lets go of the process; harmless when repeated. */
  close(): void {
    if (this.#pidfd < 0) return;
    this.#kernel.close(this.#pidfd);
    this.#pidfd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #requireSamePid(): void {
    let held = NaN;
    try {
      held = pidOfPidfd(this.#pidfd);
    } finally {
      if (held !== this.pid) this.close();
    }
    if (held !== this.pid) throw gone(`the process ${this.pid} has ended`);
  }
}

/**
 * Proves on a socket pair of our own that the kernel tells who is at the other end. A process that serves workloads calls
 * it before it listens and does not serve when it throws.
 *
 * @throws IdentityError `failed_precondition`
 */
export function assertPeerCredentialsWork(kernel: Kernel = openKernel()): void {
  const [ours, theirs] = kernel.socketPair();
  const socket = new Socket({ fd: ours });
  try {
    using peer = PeerProcess.ofSocket(socket, kernel);
    const found = peer.credentials;
    if (peer.pid !== process.pid || found?.uid !== process.geteuid?.() || found?.gid !== process.getegid?.() || !peer.isAlive()) {
      throw new Error(`the kernel took this process (${process.pid}) for ${peer.pid}`);
    }
  } catch (cause) {
    throw new IdentityError(
      'failed_precondition',
      'the kernel does not tell who connects to a unix socket, so no workload can be attested; Linux 5.3 or newer with /proc mounted is needed',
      { cause },
    );
  } finally {
    socket.destroy();
    kernel.close(theirs);
  }
}

/** Node has no public way from a socket to its descriptor; this is the only place that takes the private one. */
function descriptorOf(socket: Socket): number {
  // The handle is libuv's Pipe, whose `fd` has been there since Node 0.x; the start-up test shows when it goes.
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: unknown } | null };
  const fd = handle?.fd;
  if (typeof fd !== 'number' || fd < 0) throw gone('the connection was closed before it could be attested');
  return fd;
}

function refuseForeign({ pid }: PeerCredentials): void {
  if (pid > 0) return;
  throw new IdentityError(
    'permission_denied',
    'the caller runs in a pid namespace that the agent does not see; run the agent in the host pid namespace (hostPID: true)',
  );
}

const ESRCH = 3;
const EINVAL = 22;
const ENODATA = 61;

function holdProcess(open: () => number): number {
  try {
    return open();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    // A process that ended and was reaped gives ESRCH, EINVAL or ENODATA, depending on the kernel's version.
    if ([ESRCH, EINVAL, ENODATA].includes(error.errno)) throw gone('the process that connected has ended');
    throw new IdentityError('unavailable', 'the caller cannot be attested now: no descriptor for its process', { cause: error });
  }
}

function openByPid(pid: number, kernel: Kernel): number {
  if (!Number.isSafeInteger(pid) || pid <= 0 || pid > 0x7fffffff) {
    throw new IdentityError('invalid_argument', `${pid} is no process ID`, { field: 'pid' });
  }
  try {
    return kernel.openPidfd(pid);
  } catch (cause) {
    throw new IdentityError('not_found', `no process has the ID ${pid}`, { field: 'pid', cause });
  }
}

function gone(message: string): IdentityError {
  return new IdentityError('permission_denied', message);
}

const fdinfo = Buffer.alloc(1024);

/** The pid that a pidfd stands for, in our pid namespace; -1 once the process was reaped. See proc_pid_fdinfo(5). */
function pidOfPidfd(pidfd: number): number {
  const file = openSync(`/proc/self/fdinfo/${pidfd}`, 'r');
  try {
    const text = fdinfo.toString('latin1', 0, readSync(file, fdinfo, 0, fdinfo.length, 0));
    return Number(/^Pid:\t(-?\d+)$/m.exec(text)?.[1] ?? NaN);
  } finally {
    closeSync(file);
  }
}
