import { IdentityError } from '../core/errors.ts';
import type { Invocation, OptionSpec } from './command.ts';

/** The option that chooses how a result is printed. */
export const OUTPUT_OPTION: Readonly<Record<'output', OptionSpec>> = {
  output: { value: 'table|json|yaml', summary: 'how to print the result; table unless given' },
};

/** One thing to print: its fields in order. Missing ones are left out of a table. */
export type Row = Readonly<Record<string, string | number | boolean | readonly string[] | Mapping | undefined>>;

/** A value that a table shows as JSON. */
type Mapping = { readonly [name: string]: unknown };

/**
 * Prints rows as `--output` asks. JSON and YAML carry the rows as they are (always a list), a table shows one block for
 * each row when `layout` is `blocks`, else one line for each.
 */
export async function printRows(
  invocation: Invocation,
  rows: readonly Row[],
  layout: 'blocks' | 'lines' = 'lines',
): Promise<void> {
  const { terminal } = invocation;
  const format = invocation.text('output') ?? 'table';
  if (format === 'json') terminal.write(`${JSON.stringify(rows, undefined, 2)}\n`);
  else if (format === 'yaml') terminal.write((await import('../runtime/yaml.ts')).stringify(rows));
  else if (format !== 'table')
    throw new IdentityError('invalid_argument', `--output ${format} is unknown; use table, json or yaml`);
  else if (rows.length > 0) terminal.write(layout === 'blocks' ? formatBlocks(rows) : formatLines(rows));
}

function formatBlocks(rows: readonly Row[]): string {
  return rows
    .map((row) => {
      const cells = Object.entries(row).filter(([, value]) => value !== undefined && formatValue(value) !== '');
      const width = Math.max(...cells.map(([name]) => name.length));
      return cells
        .flatMap(([name, value]) =>
          (Array.isArray(value) ? value : [value]).map((each) => `${name.padEnd(width)}  ${formatValue(each)}\n`),
        )
        .join('');
    })
    .join('\n');
}

function formatLines(rows: readonly Row[]): string {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const table = [names.map((name) => name.toUpperCase()), ...rows.map((row) => names.map((name) => formatValue(row[name])))];
  const widths = names.map((_, column) => Math.max(...table.map((cells) => cells[column]?.length ?? 0)));
  return table
    .map(
      (cells) =>
        `${cells
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

/** A value as a table shows it. */
export function formatValue(value: Row[string]): string {
  if (value === undefined) return '';
  if (Array.isArray(value)) return value.join(', ');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** A time as RFC 3339, or `never` for 0. */
export function formatSeconds(seconds: bigint | number): string {
  return Number(seconds) === 0 ? 'never' : new Date(Number(seconds) * 1000).toISOString().replace('.000Z', 'Z');
}
