/** Work that goes on until the signal aborts, or fails. */
export type Work = (signal: AbortSignal) => Promise<void>;

/**
 * Does several parts of one work at the same time. When one of them fails the others are told to end, and waited for: nothing
 * goes on behind the back of whoever is told of the failure.
 *
 * @throws what the first part failed with
 */
export async function runTogether(parts: readonly Work[], signal: AbortSignal): Promise<void> {
  const failed = new AbortController();
  const ends = AbortSignal.any([signal, failed.signal]);
  const run = async (part: Work): Promise<void> => {
    try {
      await part(ends);
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  };
  await Promise.allSettled(parts.map(run));
  failed.signal.throwIfAborted();
}
