import type { CommandSpec } from './command.ts';

/** The overview of all commands. */
export function formatOverview(commands: readonly CommandSpec[]): string {
  const rows = commands.map(
    ({ path, positionals, summary }) => [[...path, positionals ?? ''].join(' ').trim(), summary] as const,
  );
  return [
    'Countersign gives workloads short-lived identities (SPIFFE) and decides who may call whom.',
    '',
    'Usage: countersign COMMAND [OPTIONS]',
    '',
    'Commands:',
    ...columns(rows),
    '',
    'Each command has --help with its options and examples. Begin with: countersign ca run --help',
    '',
  ].join('\n');
}

/** What one command does, its options and examples. */
export function formatHelp(command: CommandSpec): string {
  const name = `countersign ${command.path.join(' ')}`;
  const options = Object.entries(command.options).map(([option, { value, short, summary, multiple, required }]) => {
    const note = [multiple ? 'may be repeated' : '', required ? 'required' : ''].filter((each) => each !== '').join(', ');
    return [
      `${short === undefined ? '' : `-${short}, `}--${option}${value === undefined ? '' : ` ${value}`}`,
      note === '' ? summary : `${summary} (${note})`,
    ] as const;
  });
  return [
    command.summary,
    '',
    `Usage: ${[name, '[OPTIONS]', command.positionals ?? ''].join(' ').trim()}`,
    '',
    ...(options.length === 0 ? [] : ['Options:', ...columns(options), '']),
    'Examples:',
    ...command.examples.map((example) => `  ${example}`),
    '',
  ].join('\n');
}

function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
