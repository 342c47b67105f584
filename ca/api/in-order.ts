import { IdentityError } from '../../core/errors.ts';

/**
 * Runs `work` for one item of a batch after the other; an item's own failure becomes its result, that of the store ends the
 * whole batch, of which then nothing is written.
 */
export async function inOrder<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<(R | IdentityError)[]> {
  const results: (R | IdentityError)[] = [];
  for (const item of items) {
    try {
      results.push(await work(item));
    } catch (error) {
      if (!(error instanceof IdentityError) || error.code === 'unavailable') throw error;
      results.push(error);
    }
  }
  return results;
}

/** What `work` returns, or the IdentityError that it throws. */
export function orFailure<T>(work: () => T): T | IdentityError {
  try {
    return work();
  } catch (error) {
    if (error instanceof IdentityError) return error;
    throw error;
  }
}
