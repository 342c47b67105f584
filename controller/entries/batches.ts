/** As many as the CA takes in one transaction without keeping others waiting. */
const BATCH = 200;
const IN_FLIGHT = 4;
/** What is worked on in one go: a batch for each call that is under way. */
export const CYCLE = BATCH * IN_FLIGHT;

/** Takes some members out of a set. */
export function takeSome(set: Set<string>, count: number): readonly string[] {
  const taken = Iterator.from(set).take(count).toArray();
  for (const each of taken) set.delete(each);
  return taken;
}

/** Works in batches, at the same time. @throws what the first batch failed with, once all have ended */
export async function inBatches<T>(items: readonly T[], work: (batch: readonly T[]) => Promise<void>): Promise<void> {
  const batches = Array.from({ length: Math.ceil(items.length / BATCH) }, (_, index) =>
    items.slice(index * BATCH, (index + 1) * BATCH),
  );
  const outcomes = await Promise.allSettled(batches.map(work));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
