import { open } from 'node:fs/promises';

import { IdentityError } from '../core/errors.ts';
import { openKernel } from './kernel.ts';
import { openDir } from './private-file.ts';

/**
 * Claims a data folder for this process, until it is disposed of or the process ends, however it ends. Two processes on one
 * folder would sign with the same keys and overwrite each other's state.
 *
 * @throws IdentityError `failed_precondition` when another process has it; `unavailable` when it cannot be used
 */
export async function lockFolder(path: string): Promise<AsyncDisposable> {
  await openDir(path);
  // The folder itself is locked: that needs no file, so it works on a disk that has become read-only too.
  const folder = await open(path, 'r');
  if (openKernel().tryLock(folder.fd)) return folder;
  await folder.close();
  throw new IdentityError(
    'failed_precondition',
    `another process uses the data folder ${path}; stop it, or give this one a dataDir of its own`,
  );
}
