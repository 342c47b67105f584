import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { text as readStream } from 'node:stream/consumers';

import { IdentityError } from '../core/errors.ts';
import type { Invocation } from './command.ts';

/**
 * The text of a file, relative to where the user is; `-` or no file means standard input.
 *
 * @throws IdentityError `invalid_argument` when it cannot be read
 */
export async function readFileOrInput({ terminal }: Invocation, file: string | undefined): Promise<string> {
  if (file === undefined || file === '-') return readStream(process.stdin);
  return readFile(resolve(terminal.cwd, file), 'utf8').catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError('invalid_argument', `cannot read ${file} (${why})`, { cause });
  });
}
