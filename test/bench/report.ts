/** One line of the result: a figure of ours, its peer or limit from the same run, and what is wanted. */
export interface Figure {
  readonly section: string;
  readonly what: string;
  readonly unit: string;
  readonly countersign: number;
  /** SPIRE in the same run; absent when SPIRE_BIN names no binaries. */
  readonly spire?: number;
  /** What the project set itself, as a bound on our own figure. */
  readonly target?: { readonly atLeast?: number; readonly atMost?: number };
  readonly note?: string;
}

/** Whether a figure meets its target; undefined when it has none. */
export function meetsTarget({ countersign, target }: Figure): boolean | undefined {
  if (target === undefined) return undefined;
  return (
    countersign >= (target.atLeast ?? Number.NEGATIVE_INFINITY) && countersign <= (target.atMost ?? Number.POSITIVE_INFINITY)
  );
}

/** The figures as a Markdown table. */
export function formatFigures(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    figure.section,
    figure.what,
    `${round(figure.countersign)} ${figure.unit}`,
    figure.spire === undefined ? 'not compared' : `${round(figure.spire)} ${figure.unit}`,
    formatTarget(figure),
    figure.note ?? '',
  ]);
  const table = [['part', 'what', 'countersign', 'SPIRE', 'target', 'note'], ...rows];
  const widths = table[0]?.map((_, column) => Math.max(...table.map((cells) => cells[column]?.length ?? 0))) ?? [];
  const lines = table.map((cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`);
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [lines[0], rule, ...lines.slice(1), ''].join('\n');
}

function formatTarget(figure: Figure): string {
  const { target } = figure;
  if (target === undefined) return '';
  const bound = target.atLeast === undefined ? `≤ ${target.atMost}` : `≥ ${target.atLeast}`;
  return `${bound} ${meetsTarget(figure) ? 'met' : 'MISSED'}`;
}

function round(value: number): string {
  if (value >= 100) return String(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
