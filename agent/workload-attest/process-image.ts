import { closeSync, openSync, readlinkSync, readSync } from 'node:fs';
import { IdentityError } from '../../core/errors.ts';
import { type FileIdentity, type Kernel, KernelError, openKernel } from '../../runtime/kernel.ts';
import { type CgroupEntry, parseCgroups } from './cgroup.ts';

/** The file that a process executes. Two files are the same when all but the path agree. */
export interface ExecutableFile extends FileIdentity {
  /** The path in the workload's own mount namespace; ends with ` (deleted)` when the file is gone. */
  readonly path: string;
}

/** What a process is at one moment. Never changed: a process that became something else has another image. */
export interface ProcessImage {
  readonly pid: number;
  /** Effective user and group. */
  readonly uid: number;
  readonly gid: number;
  readonly supplementaryGids: readonly number[];
  /** Undefined when the agent may not see it (another user's process and an unprivileged agent) or the process has none. */
  readonly executable: ExecutableFile | undefined;
  /** Empty unless asked for. */
  readonly cgroups: readonly CgroupEntry[];
  /** The kernel's own text of all of the above but the executable; equal texts are equal values. */
  readonly text: string;
}

/** What {@link ProcessReader} reads. */
export interface ProcessReaderOptions {
  readonly withCgroups: boolean;
  /** Where procfs is mounted; `/proc` unless given. */
  readonly procRoot?: string;
  readonly kernel?: Kernel;
}

/**
 * Reads processes from procfs. The reads are synchronous: procfs answers from memory, and a read by way of the thread pool
 * would take five times as long. None of them waits for anything that a workload controls: `status` and `cgroup` need no
 * lock of its memory (`cmdline` and `environ` do), and of the executable only what the kernel has in memory is asked.
 */
export class ProcessReader {
  readonly #root: string;
  readonly #withCgroups: boolean;
  readonly #kernel: Kernel;
  #buffer = Buffer.allocUnsafe(16_384);

  constructor(options: ProcessReaderOptions) {
    this.#root = options.procRoot ?? '/proc';
    this.#withCgroups = options.withCgroups;
    this.#kernel = options.kernel ?? openKernel();
  }

  /**
   * What the process with this pid is now; the identical `previous` when nothing changed since. That it still is the
   * process one meant must be asked afterwards of its pidfd.
   *
   * @throws IdentityError `permission_denied` when it has ended, `unavailable` when no descriptor is left
   */
  read(pid: number, previous?: ProcessImage): ProcessImage {
    const status = this.#file(pid, 'status');
    const cgroups = this.#withCgroups ? this.#file(pid, 'cgroup') : '';
    const executable = this.#executable(pid);
    const [credentials, uid = '', gid = '', groups = ''] = STATUS.exec(status) ?? [];
    if (credentials === undefined) throw ended(pid);
    const text = `${uid} ${gid} ${groups}\n${cgroups}`;
    if (previous?.text === text && sameExecutable(previous.executable, executable)) return previous;
    const supplementaryGids = groups.split(' ').filter(Boolean).map(Number);
    return { pid, uid: Number(uid), gid: Number(gid), supplementaryGids, executable, cgroups: parseCgroups(cgroups), text };
  }

  #file(pid: number, name: string): string {
    try {
      const fd = openSync(`${this.#root}/${pid}/${name}`, 'r');
      try {
        return this.#readAll(fd);
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      throw readFailure(pid, error);
    }
  }

  #readAll(fd: number): string {
    let length = 0;
    for (;;) {
      const read = readSync(fd, this.#buffer, length, this.#buffer.length - length, null);
      length += read;
      if (read === 0) return this.#buffer.toString('utf8', 0, length);
      // 65,536 supplementary groups make a status of 700 kB.
      if (length === this.#buffer.length) this.#buffer = Buffer.concat([this.#buffer, Buffer.allocUnsafe(length)]);
    }
  }

  #executable(pid: number): ExecutableFile | undefined {
    const exe = `${this.#root}/${pid}/exe`;
    try {
      return { path: readlinkSync(exe), ...this.#kernel.fileIdentity(exe) };
    } catch (error) {
      if (isHidden(error)) return undefined;
      throw readFailure(pid, error);
    }
  }
}

/** Whether both are the same file at the same path, unchanged. */
export function sameExecutable(one: ExecutableFile | undefined, other: ExecutableFile | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return (
    one.inode === other.inode &&
    one.changedNs === other.changedNs &&
    one.modifiedNs === other.modifiedNs &&
    one.sizeBytes === other.sizeBytes &&
    one.device === other.device &&
    one.path === other.path
  );
}

/** Whether nothing that selectors are derived from differs. */
export function sameImage(one: ProcessImage, other: ProcessImage): boolean {
  return one === other || (one.text === other.text && sameExecutable(one.executable, other.executable));
}

/** The refusal of a process that is no more. */
export function ended(pid: number): IdentityError {
  return new IdentityError('permission_denied', `the calling process (pid ${pid}) has ended`);
}

// proc_pid_status(5): real, effective, saved and file system ID. A zombie (Z) or dead task (X) is no workload. The kernel
// escapes line breaks in the process's name, so no process can forge a line.
const STATUS = /\nState:\t[^ZX][^]*?\nUid:\t\d+\t(\d+)\t.*\nGid:\t\d+\t(\d+)\t.*\n[^]*?\nGroups:\t(.*)\n/;

const [EPERM, ENOENT, ESRCH, EACCES] = [1, 2, 3, 13];

/** Whether the executable is none of the agent's business, or there is none. */
function isHidden(error: unknown): boolean {
  if (error instanceof KernelError) return [EPERM, ENOENT, ESRCH, EACCES].includes(error.errno);
  return ['EACCES', 'EPERM', 'ENOENT', 'ESRCH'].includes(errnoName(error));
}

function errnoName(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

function readFailure(pid: number, cause: unknown): IdentityError {
  if (['ENOENT', 'ESRCH'].includes(errnoName(cause))) return ended(pid);
  return new IdentityError('unavailable', `the calling process (pid ${pid}) cannot be inspected now`, { cause });
}
