import { createRequire } from 'node:module';
import type * as Koffi from 'koffi';
import { IdentityError } from '../core/errors.ts';

// Numbers of the Linux ABI; the socket level and options are those of x86-64 and arm64 (asm-generic).
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERPIDFD = 77; // Linux 6.5
const SYS_PIDFD_OPEN = 434; // Linux 5.3, the same number on every architecture
const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const POLLIN = 1;
const AT_FDCWD = -100;
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_BASIC_STATS = 0x7ff;
const STATX_BYTES = 256;
const ENOPROTOOPT = 92;
const EINTR = 4;
const EWOULDBLOCK = 11;
const LOCK_EX_NB = 2 | 4;

/** `struct ucred` of a socket's peer: taken by the kernel when it called `connect()`, in terms of our own namespaces. */
export interface SocketCredentials {
  /** 0 when the peer's process is not visible in our pid namespace. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** What identifies a file and its content: it changes whenever the content does. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
  readonly sizeBytes: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

/** The few calls of the kernel that Node does not offer. Each throws {@link KernelError} when the kernel refuses. */
export interface Kernel {
  /** `getsockopt(SO_PEERCRED)`. */
  peerCredentials(socketFd: number): SocketCredentials;
  /** `getsockopt(SO_PEERPIDFD)`: a new descriptor of the peer's process; undefined on a kernel older than 6.5. */
  peerPidfd(socketFd: number): number | undefined;
  /** `pidfd_open(2)`: a new descriptor of the process that has this pid now. */
  openPidfd(pid: number): number;
  /** `poll(2)` without waiting: whether a descriptor is readable; for a pidfd, whether its process has ended. */
  isReadable(fd: number): boolean;
  /** `statx(2)` by what the kernel has in memory: it never waits for a file server, be it NFS or a workload's own FUSE. */
  fileIdentity(path: string): FileIdentity;
  /** `flock(2)`, exclusive and without waiting: false when another open file holds the lock. It ends with the descriptor. */
  tryLock(fd: number): boolean;
  /** `socketpair(2)` of connected unix stream sockets. */
  socketPair(): readonly [number, number];
  close(fd: number): void;
}

/** A system call failed; `errno` is Linux's number. */
export class KernelError extends IdentityError {
  readonly errno: number;

  constructor(call: string, errno: number) {
    super('internal', `${call} failed (errno ${errno})`);
    this.name = 'KernelError';
    this.errno = errno;
  }
}

interface Libc {
  readonly errno: () => number;
  readonly getsockopt: Koffi.KoffiFunc<
    (fd: number, level: number, name: number, value: Uint8Array, length: Uint32Array) => number
  >;
  readonly poll: Koffi.KoffiFunc<(fds: Uint8Array, count: number, timeoutMs: number) => number>;
  readonly socketpair: Koffi.KoffiFunc<(domain: number, type: number, protocol: number, fds: Int32Array) => number>;
  readonly syscall: Koffi.KoffiFunc<(number: number, first: number, second: number) => number>;
  readonly statx: Koffi.KoffiFunc<(folder: number, path: string, flags: number, mask: number, buffer: Uint8Array) => number>;
  readonly flock: Koffi.KoffiFunc<(fd: number, operation: number) => number>;
  readonly close: Koffi.KoffiFunc<(fd: number) => number>;
}

/**
 * The C library of this process, to declare functions of.
 *
 * @throws IdentityError `failed_precondition` on another system than Linux
 */
export function loadLibrary(): { readonly koffi: typeof Koffi; readonly library: Koffi.LibraryHandle } {
  if (process.platform !== 'linux') {
    throw new IdentityError('failed_precondition', `this works by Linux calls, and the system is ${process.platform}`);
  }
  // Loaded here and not at the top: it costs 20 ms and 6 MB, which a process without a public socket need not pay.
  const koffi: typeof Koffi = createRequire(import.meta.url)('koffi');
  return { koffi, library: koffi.load(null) };
}

function loadLibc(): Libc {
  const { koffi, library } = loadLibrary();
  // koffi types every function as (...any) => any: the declarations below are what `Libc` says about them.
  return {
    errno: () => koffi.errno(),
    getsockopt: library.func('int getsockopt(int, int, int, _Out_ uint8_t *value, _Inout_ uint32_t *length)'),
    poll: library.func('int poll(_Inout_ uint8_t *fds, unsigned long count, int timeout)'),
    socketpair: library.func('int socketpair(int, int, int, _Out_ int *fds)'),
    syscall: library.func('long syscall(long number, int first, unsigned int second)'),
    statx: library.func('int statx(int, const char *path, int flags, unsigned int mask, _Out_ uint8_t *buffer)'),
    flock: library.func('int flock(int fd, int operation)'),
    close: library.func('int close(int fd)'),
  };
}

class LinuxKernel implements Kernel {
  readonly #libc: Libc;
  // One buffer for every call: the calls are synchronous, and a call must not cost an allocation outside the heap.
  readonly #buffer = Buffer.alloc(12);
  readonly #length = new Uint32Array(1);
  readonly #statx = Buffer.alloc(STATX_BYTES);

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  peerCredentials(socketFd: number): SocketCredentials {
    this.#length[0] = 12;
    const result = this.#libc.getsockopt(socketFd, SOL_SOCKET, SO_PEERCRED, this.#buffer, this.#length);
    if (result !== 0 || this.#length[0] !== 12) throw new KernelError('getsockopt(SO_PEERCRED)', this.#libc.errno());
    return { pid: this.#buffer.readInt32LE(0), uid: this.#buffer.readUInt32LE(4), gid: this.#buffer.readUInt32LE(8) };
  }

  peerPidfd(socketFd: number): number | undefined {
    this.#length[0] = 4;
    const result = this.#libc.getsockopt(socketFd, SOL_SOCKET, SO_PEERPIDFD, this.#buffer, this.#length);
    if (result === 0) return this.#buffer.readInt32LE(0);
    const errno = this.#libc.errno();
    if (errno === ENOPROTOOPT) return undefined;
    throw new KernelError('getsockopt(SO_PEERPIDFD)', errno);
  }

  openPidfd(pid: number): number {
    const fd = this.#libc.syscall(SYS_PIDFD_OPEN, pid, 0);
    if (fd < 0) throw new KernelError('pidfd_open', this.#libc.errno());
    return fd;
  }

  isReadable(fd: number): boolean {
    for (;;) {
      this.#buffer.writeInt32LE(fd, 0);
      this.#buffer.writeInt16LE(POLLIN, 4);
      this.#buffer.writeInt16LE(0, 6);
      const ready = this.#libc.poll(this.#buffer, 1, 0);
      if (ready >= 0) return ready > 0;
      if (this.#libc.errno() !== EINTR) throw new KernelError('poll', this.#libc.errno());
    }
  }

  fileIdentity(path: string): FileIdentity {
    const file = this.#statx;
    const result = this.#libc.statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_BASIC_STATS, file);
    if (result !== 0) throw new KernelError('statx', this.#libc.errno());
    return {
      device: deviceNumber(file.readUInt32LE(136), file.readUInt32LE(140)),
      inode: file.readBigUInt64LE(32),
      sizeBytes: file.readBigUInt64LE(40),
      modifiedNs: timeNs(file, 112),
      changedNs: timeNs(file, 96),
    };
  }

  tryLock(fd: number): boolean {
    if (this.#libc.flock(fd, LOCK_EX_NB) === 0) return true;
    const errno = this.#libc.errno();
    if (errno === EWOULDBLOCK) return false;
    throw new KernelError('flock', errno);
  }

  socketPair(): readonly [number, number] {
    const fds = new Int32Array(2);
    const result = this.#libc.socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, fds);
    if (result !== 0) throw new KernelError('socketpair', this.#libc.errno());
    return [fds[0] ?? -1, fds[1] ?? -1];
  }

  close(fd: number): void {
    this.#libc.close(fd);
  }
}

/** `makedev(3)`: the number that `stat(2)` has for a device. */
function deviceNumber(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return ((high & ~0xfffn) << 32n) | ((high & 0xfffn) << 8n) | ((low & ~0xffn) << 12n) | (low & 0xffn);
}

function timeNs(file: Buffer, offset: number): bigint {
  return file.readBigInt64LE(offset) * 1_000_000_000n + BigInt(file.readUInt32LE(offset + 8));
}

let linux: Kernel | undefined;

/**
 * The kernel's calls, bound on first use.
 *
 * @throws IdentityError `failed_precondition` where the binding does not load (not Linux, no prebuilt library)
 */
export function openKernel(): Kernel {
  linux ??= new LinuxKernel(loadLibc());
  return linux;
}
