import { open } from 'node:fs/promises';
import { join } from 'node:path';

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
  const file = await open(join(path, 'lock'), 'a', 0o600);
  if (openKernel().tryLock(file.fd)) return file;
  await file.close();
  throw new IdentityError(
    'failed_precondition',
    `another process uses the data folder ${path}; stop it, or give this one a dataDir of its own`,
  );
}
