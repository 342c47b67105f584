import { isIdentityError } from '../../core/errors.ts';
import type { ErrorCode, IdentityError } from '../../core/errors.ts';

/**
 * The IdentityError that a function throws; any other error goes on, and none is a failure.
 *
 * @example
 * expect(thrownBy(() => parseSpiffeId('x'))).toMatchObject({ code: 'invalid_argument', field: 'spiffe_id' });
 */
export function thrownBy(work: () => unknown): IdentityError {
  try {
    work();
  } catch (error) {
    if (isIdentityError(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** The code that a function fails with; undefined when it does not fail. Any other error than IdentityError goes on. */
export function codeOf(work: () => unknown): ErrorCode | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (isIdentityError(error)) return error.code;
    throw error;
  }
}
