/** One line of the result: a figure of ours, its peer or limit from the same run, and what is wanted. */
export interface Figure {
  readonly section: string;
  readonly what: string;
  readonly unit: string;
  readonly countersign: number;
  /** SPIRE in the same run; absent where it was not measured, or SPIRE_BIN names no binaries. */
  readonly spire?: number;
  /** Another system in the same run, where SPIRE does not do this. */
  readonly peer?: Peer;
  /** Where more is worse: times and memory. */
  readonly lessIsBetter?: boolean;
  readonly target?: Target;
  readonly note?: string;
}

/** Another system's figure. */
export interface Peer {
  readonly name: string;
  readonly value: number;
}

/** What the project set itself. */
export interface Target {
  readonly atLeast?: number;
  readonly atMost?: number;
  /** How many times SPIRE's figure of the same run; checked where it was measured. */
  readonly timesSpire?: number;
  /** How many times the figure of `peer`. */
  readonly timesPeer?: number;
}

/** How many times better than SPIRE, or another peer, in the same run; undefined where that was not measured. */
export function ratioOf({ countersign, spire, peer, lessIsBetter = false }: Figure): number | undefined {
  const other = spire ?? peer?.value;
  if (other === undefined) return undefined;
  return lessIsBetter ? other / countersign : countersign / other;
}

/** Whether a figure meets its target; undefined when it has none that could be checked. */
export function meetsTarget(figure: Figure): boolean | undefined {
  const { countersign, target = {} } = figure;
  const ratio = ratioOf(figure);
  const checks = [
    target.atLeast === undefined ? undefined : countersign >= target.atLeast,
    target.atMost === undefined ? undefined : countersign <= target.atMost,
    target.timesSpire === undefined || ratio === undefined ? undefined : ratio >= target.timesSpire,
    target.timesPeer === undefined || ratio === undefined ? undefined : ratio >= target.timesPeer,
  ].filter((check) => check !== undefined);
  return checks.length === 0 ? undefined : checks.every(Boolean);
}

const HEADINGS = ['part', 'what', 'Countersign', 'SPIRE', 'times', 'target', 'note'];

/** The figures as a Markdown table. */
export function formatFigures(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    figure.section,
    figure.what,
    `${round(figure.countersign)} ${figure.unit}`,
    formatPeer(figure),
    ratioOf(figure)?.toFixed(2) ?? '',
    formatTarget(figure),
    figure.note ?? '',
  ]);
  const table = [HEADINGS, ...rows];
  const widths = HEADINGS.map((_, column) => Math.max(...table.map((cells) => cells[column]?.length ?? 0)));
  const lines = table.map((cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`);
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [lines[0], rule, ...lines.slice(1), ''].join('\n');
}

function formatPeer({ spire, peer, unit }: Figure): string {
  if (spire !== undefined) return `${round(spire)} ${unit}`;
  return peer === undefined ? 'not compared' : `${round(peer.value)} ${unit} (${peer.name})`;
}

function formatTarget(figure: Figure): string {
  const { atLeast, atMost, timesSpire, timesPeer } = figure.target ?? {};
  const bounds = [
    atLeast === undefined ? '' : `≥ ${atLeast}`,
    atMost === undefined ? '' : `≤ ${atMost}`,
    timesSpire === undefined ? '' : `${timesSpire} × SPIRE`,
    timesPeer === undefined ? '' : `${timesPeer} × ${figure.peer?.name}`,
  ].filter((bound) => bound !== '');
  const verdict = { true: ': met', false: ': MISSED', undefined: '' }[`${meetsTarget(figure)}`];
  return `${bounds.join(' and ')}${verdict}`;
}

function round(value: number): string {
  if (value >= 100) return String(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
