import { mkdir, rmdir } from 'node:fs/promises';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Mounts } from '../../runtime/mounts.ts';
import { HeldFolder } from './held-folder.ts';
import { parseTargetPath } from './target-path.ts';

/** What {@link Volumes} needs. */
export interface VolumesOptions {
  readonly mounts: Mounts;
  /** The folder of the agent's public socket, which pods get to see. */
  readonly socketFolder: string;
  readonly kubeletFolder: string;
}

// Somebody may have mounted more than once at the same path; more often than this is no accident.
const MAX_UNMOUNTS = 16;

/**
 * Shows pods the folder with the agent's socket: the folder and not the socket, so that an agent that starts again, with a new
 * socket, is seen at once. Everything may be asked again at any time; one thing is done after the other.
 */
export class Volumes {
  readonly #options: VolumesOptions;
  #last: Promise<void> = Promise.resolve();

  constructor(options: VolumesOptions) {
    this.#options = options;
  }

  /**
   * Mounts the folder read-only at a path of the kubelet.
   *
   * @throws IdentityError `invalid_argument` for another path; `failed_precondition` when a link or something else is there;
   *   `unavailable` when the agent's folder does not exist
   */
  publish(targetPath: string): Promise<void> {
    return this.#inTurn(() => this.#publish(targetPath));
  }

  /** Takes it away again, with the folder at the path; that nothing is there is fine. Throws as {@link publish}. */
  unpublish(targetPath: string): Promise<void> {
    return this.#inTurn(() => this.#unpublish(targetPath));
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  async #publish(targetPath: string): Promise<void> {
    const { mounts, kubeletFolder } = this.#options;
    const { parents, name } = parseTargetPath(targetPath, kubeletFolder);
    await using source = await this.#openSource();
    await using parent = await HeldFolder.below(kubeletFolder, parents);
    await makeFolder(parent.pathOf(name));
    await using target = await parent.child(name);
    if ((await target.mountId()) === (await parent.mountId())) mounts.bind(source.path, target.path);
    // What is mounted hides the folder below it, so it is opened anew.
    await using mounted = await parent.child(name);
    if (!(await mounted.isSame(source))) {
      throw new IdentityError('failed_precondition', 'something else is mounted at the path', { field: 'target_path' });
    }
    restrict(mounts, mounted, parent.pathOf(name));
  }

  async #unpublish(targetPath: string): Promise<void> {
    const { mounts, kubeletFolder } = this.#options;
    const { parents, name } = parseTargetPath(targetPath, kubeletFolder);
    await using parent = await unlessMissing(HeldFolder.below(kubeletFolder, parents));
    if (parent === undefined) return;
    for (let count = 0; await isMounted(parent, name); count++) {
      if (count === MAX_UNMOUNTS)
        throw new IdentityError('failed_precondition', 'the path stays mounted', { field: 'target_path' });
      mounts.unmount(parent.pathOf(name));
    }
    await removeFolder(parent.pathOf(name));
  }

  async #openSource(): Promise<HeldFolder> {
    const { socketFolder } = this.#options;
    const folder = await unlessMissing(HeldFolder.open(socketFolder));
    if (folder !== undefined) return folder;
    throw new IdentityError(
      'unavailable',
      `the folder of the agent's socket, ${socketFolder}, does not exist; is the agent here?`,
    );
  }
}

/** A mount that cannot be made read-only must not stay. */
function restrict(mounts: Mounts, mounted: HeldFolder, path: string): void {
  try {
    mounts.restrict(mounted.path);
  } catch (error) {
    mounts.unmount(path);
    throw error;
  }
}

async function isMounted(parent: HeldFolder, name: string): Promise<boolean> {
  await using target = await unlessMissing(parent.child(name));
  return target !== undefined && (await target.mountId()) !== (await parent.mountId());
}

async function unlessMissing(opening: Promise<HeldFolder>): Promise<HeldFolder | undefined> {
  return opening.catch((error: unknown) => {
    if (isIdentityError(error, 'not_found')) return undefined;
    throw error;
  });
}

async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { mode: 0o750 }).catch((cause: unknown) => {
    if (codeOf(cause) !== 'EEXIST') throw new IdentityError('failed_precondition', 'the folder cannot be made', { cause });
  });
}

async function removeFolder(path: string): Promise<void> {
  await rmdir(path).catch((cause: unknown) => {
    if (codeOf(cause) !== 'ENOENT') throw new IdentityError('failed_precondition', 'the folder cannot be removed', { cause });
  });
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
