/** Upper bounds of the histogram's bars, in milliseconds. */
const BOUNDS = [2, 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 250, 500, 1_000, Infinity];
const BAR_CHARS = 40;

/** The value below which a share of all values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

/** Times as bars of text, one line for each range that holds any. */
export function formatHistogram(timesMs: readonly number[]): string {
  const counts = BOUNDS.map(
    (bound, at) => timesMs.filter((time) => time <= bound && time > (BOUNDS[at - 1] ?? -Infinity)).length,
  );
  const most = Math.max(...counts, 1);
  const lines = counts.flatMap((count, at) => {
    if (count === 0) return [];
    const bar = '█'.repeat(Math.max(1, Math.round((count / most) * BAR_CHARS)));
    const range = at === BOUNDS.length - 1 ? 'more' : `≤ ${BOUNDS[at]} ms`;
    return [`  ${range.padStart(13)} ${bar} ${count}`];
  });
  return lines.join('\n');
}
