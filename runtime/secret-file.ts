import { readFile } from 'node:fs/promises';

import { IdentityError } from '../core/errors.ts';

/** Reads a file that must be there; its content is never in the error. */
export async function readSecret(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    // The cast is sound: fs rejects with system errors only.
    const { message } = cause as NodeJS.ErrnoException;
    // Without the cause, which a log would print after it: the text says all that it does.
    throw new IdentityError('failed_precondition', `cannot read the ${what} (${message})`);
  }
}
