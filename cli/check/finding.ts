/** How bad a finding is; `unknown` is what could not be looked at. */
export type Level = 'ok' | 'warning' | 'error' | 'unknown';

/** One line of `countersign check`: what was looked at, what was seen, and what to do. */
export interface Finding {
  readonly level: Level;
  /** What was looked at, such as `ca countersign-ca-0` or `bundle`. */
  readonly subject: string;
  readonly text: string;
  /** What to do; only where something is to be done. */
  readonly remedy?: string;
}

const MARKS: Readonly<Record<Level, string>> = { ok: '✔', warning: '!', error: '✘', unknown: '?' };
const COLORS: Readonly<Record<Level, number>> = { ok: 32, warning: 33, error: 31, unknown: 36 };

/** The findings as lines, each remedy below its finding; with colours when the output is a terminal. */
export function formatFindings(findings: readonly Finding[], { colors }: { readonly colors: boolean }): string {
  return findings.map((finding) => formatFinding(finding, colors)).join('');
}

function formatFinding({ level, subject, text, remedy }: Finding, colors: boolean): string {
  const mark = colors ? `\u001b[${COLORS[level]}m${MARKS[level]}\u001b[0m` : MARKS[level];
  const advice = remedy === undefined ? '' : `    → ${remedy}\n`;
  return `${mark} ${subject}: ${text}\n${advice}`;
}

/** One line that sums up, such as `12 ok, 1 warning, 0 errors`. */
export function summarize(findings: readonly Finding[]): string {
  const count = (level: Level): number => findings.filter((finding) => finding.level === level).length;
  const [warnings, errors, unknown] = [count('warning'), count('error'), count('unknown')];
  const parts = [`${count('ok')} ok`, `${warnings} ${plural('warning', warnings)}`, `${errors} ${plural('error', errors)}`];
  return `${[...parts, ...(unknown === 0 ? [] : [`${unknown} not looked at`])].join(', ')}\n`;
}

function plural(word: string, count: number): string {
  return count === 1 ? word : `${word}s`;
}

/** Runs a check; what it throws becomes its finding, so that one failure hides no other. */
export async function checked(
  subject: string,
  remedy: string,
  run: () => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  try {
    return await run();
  } catch (error) {
    return [{ level: 'error', subject, text: error instanceof Error ? error.message : 'failed', remedy }];
  }
}
