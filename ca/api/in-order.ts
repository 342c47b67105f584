import { IdentityError } from '../../core/errors.ts';

/** Runs `work` for one item after the other; an item's own failure becomes its result, that of the store ends the whole. */
export async function inOrder<T, R>(
  items: readonly T[],
  work: (item: T) => R | Promise<R>,
): Promise<(Exclude<Awaited<R>, Error> | IdentityError)[]> {
  const results: (Exclude<Awaited<R>, Error> | IdentityError)[] = [];
  for (const item of items) {
    try {
      const result = await work(item);
      if (result instanceof Error) throw result;
      // The cast is sound: errors have just been thrown.
      results.push(result as Exclude<Awaited<R>, Error>);
    } catch (error) {
      if (!(error instanceof IdentityError) || error.code === 'unavailable') throw error;
      results.push(error);
    }
  }
  return results;
}
