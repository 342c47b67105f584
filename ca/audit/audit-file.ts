import { constants, write } from 'node:fs';
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises';

const NEWLINE = 0x0a;
const CLOSING_BRACE = 0x7d;
const TAIL_BYTES = 64 * 1024;
// With O_DSYNC a write is on the disk when it returns: one trip to the thread pool instead of two for write and fdatasync.
const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_DSYNC;

/** A file of lines whose writes are on the disk when they resolve. All methods reject with the system's error. */
export class AuditFile {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #inode: number;
  #bytes: number;

  private constructor(path: string, handle: FileHandle, opened: { readonly bytes: number; readonly inode: number }) {
    this.path = path;
    this.#handle = handle;
    this.#bytes = opened.bytes;
    this.#inode = opened.inode;
  }

  /** Opens the file for appending and cuts off a last line that a crash left torn: nobody was told that it was written. */
  static async open(path: string): Promise<AuditFile> {
    const handle = await open(path, FLAGS, 0o600);
    try {
      const { size, ino, mode } = await handle.stat();
      if ((mode & 0o077) !== 0) await handle.chmod(0o600);
      const whole = await lengthOfWholeLines(handle, size);
      if (whole < size) {
        await handle.truncate(whole);
        await handle.datasync();
      }
      return new AuditFile(path, handle, { bytes: whole, inode: ino });
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Bytes of whole lines in the file. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Appends; a rejected write may have left a part, which opening the file again cuts off. */
  append(content: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const step = (from: number): void =>
        write(this.#handle.fd, content, from, content.length - from, null, (error, written) => {
          if (error !== null) return reject(error);
          this.#bytes += written;
          if (from + written < content.length) step(from + written);
          else resolve();
        });
      step(0);
    });
  }

  /** Whether the path still names this file; false after somebody moved or removed it. */
  async isInPlace(): Promise<boolean> {
    return stat(this.path).then(
      ({ ino }) => ino === this.#inode,
      () => false,
    );
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Moves `path` to `path.1`, `path.1` to `path.2` and so on; what would be beyond `keep` is removed. */
export async function shiftFiles(path: string, keep: number): Promise<void> {
  await rm(`${path}.${keep}`, { force: true });
  for (let index = keep - 1; index >= 0; index--) {
    const from = index === 0 ? path : `${path}.${index}`;
    await rename(from, `${path}.${index + 1}`).catch(ignoreMissing);
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
}

/** Where the last whole record ends, looking backwards; a line that does not end in `}` is no record either. */
async function lengthOfWholeLines(handle: FileHandle, size: number): Promise<number> {
  for (let end = size; end > 0;) {
    const start = Math.max(0, end - TAIL_BYTES);
    const chunk = Buffer.alloc(end - start);
    await handle.read(chunk, 0, chunk.length, start);
    const at = lastRecordEnd(chunk);
    if (at !== undefined) return start + at;
    // One byte of overlap, so that a brace and its line feed on both sides of a boundary are seen together.
    end = start === 0 ? 0 : start + 1;
  }
  return 0;
}

function lastRecordEnd(chunk: Buffer): number | undefined {
  for (let at = chunk.length - 1; at > 0; at--) {
    if (chunk[at] === NEWLINE && chunk[at - 1] === CLOSING_BRACE) return at + 1;
  }
  return undefined;
}
