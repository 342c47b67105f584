import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { IdentityError } from '../../core/errors.ts';
import type { FileIdentity } from '../../runtime/kernel.ts';

const CHUNK_BYTES = 256 * 1024;
const REMEMBERED_FILES = 1024;
const PARALLEL_FILES = 2;

/**
 * SHA-256 digests of executables, each file hashed once: a digest is remembered by device, inode, size and times of change,
 * which the kernel changes with the content. Files are read in slices, two files at a time, so that a caller with a large
 * executable holds up neither the agent nor, for long, other callers.
 */
export class ExecutableDigests {
  /** In order of last use; the oldest is forgotten. */
  readonly #digests = new Map<string, string>();
  readonly #running = new Map<string, Promise<string>>();
  readonly #waiting: (() => void)[] = [];
  #active = 0;

  /**
   * The digest as lower-case hex: at once when it is known.
   *
   * @param path opens the very file, such as `/proc/<pid>/exe`
   * @throws IdentityError `aborted` when `path` opens another file than `file`
   */
  digestOf(file: FileIdentity, path: string): string | Promise<string> {
    const key = keyOf(file);
    const known = this.#digests.get(key);
    if (known !== undefined) {
      this.#digests.delete(key);
      this.#digests.set(key, known);
      return known;
    }
    const running = this.#running.get(key) ?? this.#hash(file, path, key);
    this.#running.set(key, running);
    return running;
  }

  async #hash(file: FileIdentity, path: string, key: string): Promise<string> {
    try {
      await this.#turn();
      const digest = await hashFile(file, path);
      this.#remember(key, digest);
      return digest;
    } finally {
      this.#running.delete(key);
      this.#active--;
      this.#waiting.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    if (this.#active >= PARALLEL_FILES) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#active++;
  }

  #remember(key: string, digest: string): void {
    this.#digests.set(key, digest);
    if (this.#digests.size <= REMEMBERED_FILES) return;
    for (const oldest of this.#digests.keys()) {
      this.#digests.delete(oldest);
      return;
    }
  }
}

function keyOf({ device, inode, sizeBytes, modifiedNs, changedNs }: FileIdentity): string {
  return `${device} ${inode} ${sizeBytes} ${modifiedNs} ${changedNs}`;
}

async function hashFile(file: FileIdentity, path: string): Promise<string> {
  await using handle = await open(path, 'r');
  await requireSameFile(file, handle);
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  let position = 0;
  while (position < file.sizeBytes) {
    const { bytesRead } = await handle.read(chunk, 0, CHUNK_BYTES, position);
    if (bytesRead === 0) break;
    hash.update(chunk.subarray(0, bytesRead));
    position += bytesRead;
  }
  await requireSameFile(file, handle);
  return hash.digest('hex');
}

async function requireSameFile(file: FileIdentity, handle: FileHandle): Promise<void> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await handle.stat({ bigint: true });
  const opened = { device: dev, inode: ino, sizeBytes: size, modifiedNs: mtimeNs, changedNs: ctimeNs };
  if (keyOf(opened) === keyOf(file)) return;
  throw new IdentityError('aborted', 'the executable changed while its digest was taken');
}
