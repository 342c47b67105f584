import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { text as readStream } from 'node:stream/consumers';

import { IdentityError } from '../core/errors.ts';
import type { Invocation } from './command.ts';

/** Whose standard input was read: a second time it would be empty, and look like a file without anything in it. */
const READ = new WeakSet<Invocation['terminal']>();

/**
 * The text of a file, relative to where the user is; `-` or no file means standard input, which can be read once.
 *
 * @throws IdentityError `invalid_argument` when it cannot be read
 */
export async function readFileOrInput({ terminal }: Invocation, file: string | undefined): Promise<string> {
  if (file === undefined || file === '-') {
    if (READ.has(terminal))
      throw new IdentityError('invalid_argument', 'only one option can read standard input; name a file for the other');
    READ.add(terminal);
    return readStream(process.stdin);
  }
  return readFile(resolve(terminal.cwd, file), 'utf8').catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError('invalid_argument', `cannot read ${file} (${why})`, { cause });
  });
}
