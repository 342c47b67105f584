import { IdentityError } from '../../core/errors.ts';

/** Reads something; faults of what was read get the name of the file in front. */
export function inFile<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof IdentityError)) throw cause;
    const message = cause.message
      .split('\n')
      .map((line) => `${file}: ${line}`)
      .join('\n');
    throw new IdentityError('invalid_argument', message, { cause });
  }
}
