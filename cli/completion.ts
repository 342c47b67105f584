import type { CommandSpec } from './command.ts';

/** The shells that {@link formatCompletion} knows. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;

/** A completion script made from the command table; load it with `source <(countersign completion bash)`. */
export function formatCompletion(shell: (typeof SHELLS)[number], commands: readonly CommandSpec[]): string {
  return shell === 'fish' ? formatFish(commands) : formatBash(shell, commands);
}

function formatBash(shell: 'bash' | 'zsh', commands: readonly CommandSpec[]): string {
  const cases = contexts(commands).map(
    ([words, candidates]) => `    ${JSON.stringify(words)}) words=${JSON.stringify(candidates.join(' '))} ;;`,
  );
  const known = contexts(commands).flatMap(([words]) => (words === '' ? [] : [words]));
  return [
    ...(shell === 'zsh' ? ['autoload -U +X bashcompinit && bashcompinit'] : []),
    '_countersign() {',
    '  local current=${COMP_WORDS[COMP_CWORD]} context="" word words=""',
    '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
    // Values of options and other arguments are no part of the command.
    '    case "${context:+$context }$word" in',
    `      ${known.map((words) => JSON.stringify(words)).join('|')}) context="\${context:+$context }$word" ;;`,
    '    esac',
    '  done',
    '  case $context in',
    ...cases,
    '  esac',
    '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
    '}',
    'complete -o default -F _countersign countersign',
    '',
  ].join('\n');
}

function formatFish(commands: readonly CommandSpec[]): string {
  const lines = commands.flatMap(({ path, summary, options }) => {
    const seen = path.slice(0, -1).map((word) => `__fish_seen_subcommand_from ${word}`);
    const here = seen.length === 0 ? '__fish_use_subcommand' : seen.join('; and ');
    const inside = path.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
    return [
      ...(path.length > 1 ? [`complete -c countersign -f -n __fish_use_subcommand -a ${path[0]}`] : []),
      `complete -c countersign -f -n '${here}' -a ${path.at(-1)} -d ${JSON.stringify(summary)}`,
      ...Object.entries(options).map(
        ([name, option]) => `complete -c countersign -n '${inside}' -l ${name} -d ${JSON.stringify(option.summary)}`,
      ),
    ];
  });
  return `${[...new Set(lines)].join('\n')}\n`;
}

/** For each sequence of command words, what may follow it. */
function contexts(commands: readonly CommandSpec[]): [string, string[]][] {
  const following = new Map<string, Set<string>>();
  const add = (context: string, word: string): void => {
    following.set(context, (following.get(context) ?? new Set()).add(word));
  };
  for (const { path, options } of commands) {
    path.forEach((word, index) => add(path.slice(0, index).join(' '), word));
    for (const option of [...Object.keys(options), 'help']) add(path.join(' '), `--${option}`);
  }
  return [...following].map(([context, words]) => [context, [...words]]);
}
