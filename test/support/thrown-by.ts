import { isIdentityError } from '../../core/errors.ts';
import type { IdentityError } from '../../core/errors.ts';

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
