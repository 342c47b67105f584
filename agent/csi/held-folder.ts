import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { IdentityError } from '../../core/errors.ts';

/**
 * A folder that is held open. Its {@link path} leads to this very folder, whatever happens to its name meanwhile, so that what
 * was checked is what is used.
 */
export class HeldFolder implements AsyncDisposable {
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /**
   * Opens a folder.
   *
   * @throws IdentityError `not_found`; `failed_precondition` when it is a link or no folder
   */
  static async open(path: string): Promise<HeldFolder> {
    try {
      return new HeldFolder(await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW));
    } catch (cause) {
      throw failure(path, cause);
    }
  }

  /** Opens a folder below another, step by step: no step may be a link. Throws as {@link open}. */
  static async below(root: string, names: readonly string[]): Promise<HeldFolder> {
    let folder = await HeldFolder.open(root);
    for (const name of names) {
      await using parent = folder;
      folder = await parent.child(name);
    }
    return folder;
  }

  /** Opens a folder in this one. Throws as {@link open}. */
  child(name: string): Promise<HeldFolder> {
    return HeldFolder.open(this.pathOf(name));
  }

  get path(): string {
    return `/proc/self/fd/${this.#handle.fd}`;
  }

  pathOf(name: string): string {
    return `${this.path}/${name}`;
  }

  /** Which mount it is on: another than its parent's when something is mounted at it. */
  async mountId(): Promise<string> {
    const text = await readFile(`/proc/self/fdinfo/${this.#handle.fd}`, 'utf8');
    const [, id] = /^mnt_id:\s*(\d+)$/m.exec(text) ?? [];
    if (id === undefined) throw new IdentityError('internal', 'the kernel does not tell which mount a folder is on');
    return id;
  }

  /** Whether both are the same folder of the same file system, at whatever path. */
  async isSame(other: HeldFolder): Promise<boolean> {
    const [one, two] = await Promise.all([this.#handle.stat({ bigint: true }), other.#handle.stat({ bigint: true })]);
    return one.dev === two.dev && one.ino === two.ino;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#handle.close();
  }
}

function failure(path: string, cause: unknown): IdentityError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (code === 'ENOENT') return new IdentityError('not_found', `the folder ${name} does not exist`, { cause });
  const isOther = code === 'ENOTDIR' || code === 'ELOOP';
  return new IdentityError('failed_precondition', `${name} ${isOther ? 'is a link or no folder' : 'cannot be opened'}`, {
    cause,
  });
}
